"""Short ids: the first eight digits of an id, as pages show it and as a search finds it."""

from __future__ import annotations

import re
from uuid import UUID

SHOWN_DIGITS = 8
_HEX_DIGITS = 32
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_ID_OR_BEGINNING = re.compile(rf"[0-9a-f]{{{SHOWN_DIGITS},{_HEX_DIGITS}}}", re.IGNORECASE)


def short_id(value: object) -> str:
    """Return the beginning of a UUID, and any other id whole."""
    text = str(value)
    return text[:SHOWN_DIGITS] if _UUID.fullmatch(text) else text


def ids_that_begin(term: str) -> tuple[UUID, UUID] | None:
    """Return the first and the last id that begin as the term does, dashes aside; None when no id does."""
    digits = term.replace("-", "")
    if not _ID_OR_BEGINNING.fullmatch(digits):
        return None
    return UUID(digits.ljust(_HEX_DIGITS, "0")), UUID(digits.ljust(_HEX_DIGITS, "f"))
