"""The ids of jobs as others write them, in the type that they have in this database: uuid, bigint, integer or text.

Elsewhere an id is what ``parse`` returns; annotations call it a UUID.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from uuid import UUID

from opsconsole_worker.mapping import process_mapping
from opsconsole_worker.storable import is_storable

TYPE = process_mapping.current().jobs.id_type
LONGEST_TEXT = 500
LARGEST = {"bigint": 2**63 - 1, "integer": 2**31 - 1}
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,18}", re.ASCII)
# For sentences: "... must be a UUID".
WANTED = {"uuid": "a UUID", "bigint": "a whole number", "integer": "a whole number", "text": "text"}[TYPE]


def parse(value: object) -> UUID | None:
    """Return the id of a job as a message, an address or a file writes it, or None when the value is none."""
    if isinstance(value, bool) or not isinstance(value, str | int | UUID):
        return None
    text = str(value)
    parser: Callable[[str], Any] = _PARSERS[TYPE]
    found: UUID | None = parser(text)
    return found


def _uuid(text: str) -> UUID | None:
    try:
        job_id = UUID(text)
    except ValueError:
        return None
    # UUID() alone also accepts braces, underscores and digits of other scripts, which PostgreSQL does not.
    return job_id if text.lower() in {str(job_id), job_id.hex} else None


def _number(text: str) -> int | None:
    number = int(text) if _WHOLE.fullmatch(text) else None
    return number if number is not None and abs(number) <= LARGEST[TYPE] else None


def _text(text: str) -> str | None:
    return text if 0 < len(text) <= LONGEST_TEXT and is_storable(text) else None


_PARSERS = {"uuid": _uuid, "bigint": _number, "integer": _number, "text": _text}
