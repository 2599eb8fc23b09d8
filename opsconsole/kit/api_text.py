"""The types of texts in the API's documents."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, StringConstraints

from opsconsole.kit.storable import plain_text


def _plain(value: object) -> object:
    return plain_text(value) if isinstance(value, str) else value


# What people read, such as a worker's error: a text is cut by programs, also in the middle of a character.
FreeText = Annotated[str, BeforeValidator(_plain), StringConstraints(strict=True)]
# What names something: refused rather than changed, as another name would be somebody else's. That it is not blank
# is for the duties to say.
Identifier = Annotated[
    str, StringConstraints(strict=True, min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]*$")
]
