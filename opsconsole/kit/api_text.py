"""The types of texts in the API's documents."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, StringConstraints

from opsconsole.kit.storable import plain_text


def _plain(value: object) -> object:
    return plain_text(value) if isinstance(value, str) else value


# Text for people, such as a worker's error. It is cleaned, because programs may cut a text in the middle of a character.
FreeText = Annotated[str, BeforeValidator(_plain), StringConstraints(strict=True)]
# A name is refused rather than changed, because the changed name could belong to somebody else. The duties check that it
# is not blank.
Identifier = Annotated[
    str, StringConstraints(strict=True, min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]*$")
]
