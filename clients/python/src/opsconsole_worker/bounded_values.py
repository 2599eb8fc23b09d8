"""Values of columns that other programs write: cut by PostgreSQL before they travel, and read only where that is safe."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Any

from opsconsole_worker.errors import OpsConsoleError
from opsconsole_worker.storable import DEEPEST, is_too_deep

# In characters, of names and keys.
LONGEST_NAME = 500


class UnreadableDocument(OpsConsoleError):
    """A JSON document in the database is nested too deeply to be read."""


def cut_in_statement(column: str, longest: int = LONGEST_NAME) -> str:
    """Return the SQL of the column's text, cut to this many characters; a cut text ends with its size."""
    text = f"({column})::text"
    return (
        f"CASE WHEN octet_length({text}) <= {longest} OR length(left({text}, {longest + 1})) <= {longest}"
        f" THEN {text} ELSE left({text}, {longest}) || ' … (cut; ' || octet_length({text}) || ' bytes in all)' END"
    )


def read_document(text: str) -> Any:
    """Return the document that ``whole()`` read. Raise ``UnreadableDocument`` for one that no program should follow."""
    if is_too_deep(text):
        raise UnreadableDocument(f"It is nested more than {DEEPEST} levels deep.")
    try:
        return json.loads(text)
    except ValueError as error:
        raise UnreadableDocument(f"{error}.") from None


def as_whole(value: object) -> int | None:
    """Return 50 for 50, 50.00 or '50'; None for anything that is not a 64-bit whole number."""
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    if not number.is_finite() or number != number.to_integral_value() or not -(2**63) <= number < 2**63:
        return None
    return int(number)
