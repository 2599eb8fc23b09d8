"""The ids of jobs, in the type that they have in this database: uuid, bigint, integer or text.

Only this module knows the four types. Elsewhere an id is what ``parse`` returns; annotations call it a UUID.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib.postgres.functions import RandomUUID
from django.db import models

from opsconsole.kit import mapping
from opsconsole.kit.storable import is_storable

TYPE = mapping.current().jobs.id_type
LONGEST_TEXT = 500
_LARGEST = {"bigint": 2**63 - 1, "integer": 2**31 - 1}
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,18}", re.ASCII)
# For sentences: "... must be a UUID".
WANTED = {"uuid": "a UUID", "bigint": "a whole number", "integer": "a whole number", "text": "text"}[TYPE]
# As the converter of an address, such as <uuid:job_id>. An address with anything else is not found.
CONVERTER = {"uuid": "uuid", "text": "path"}.get(TYPE, "job_number")
# Before every id, in the order of the database.
BEFORE_ALL: Any = {"uuid": UUID(int=0), "text": ""}.get(TYPE, -_LARGEST.get(TYPE, 0) - 1)

if TYPE_CHECKING:
    JobId = UUID
else:
    # What schemas and routes of the API accept and describe.
    JobId = {"uuid": UUID, "text": str}.get(TYPE, int)


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
    return number if number is not None and abs(number) <= _LARGEST[TYPE] else None


def _text(text: str) -> str | None:
    return text if 0 < len(text) <= LONGEST_TEXT and is_storable(text) else None


_PARSERS = {"uuid": _uuid, "bigint": _number, "integer": _number, "text": _text}


def new() -> Any:
    """Return the id of a new job; None where the database numbers them."""
    return {"uuid": uuid.uuid4, "text": _new_text}.get(TYPE, lambda: None)()


def _new_text() -> str:
    return str(uuid.uuid4())


def primary_key(**options: Any) -> Any:
    """Return the field of a job's id."""
    if TYPE == "uuid":
        return models.UUIDField(
            primary_key=True, default=uuid.uuid4, db_default=RandomUUID(), editable=False, **options
        )
    if TYPE == "text":
        return models.TextField(primary_key=True, default=_new_text, editable=False, **options)
    kind = models.BigAutoField if TYPE == "bigint" else models.AutoField
    return kind(primary_key=True, **options)


def reference(**options: Any) -> Any:
    """Return a field that holds the id of a job and is no foreign key."""
    kinds = {"uuid": models.UUIDField, "text": models.TextField, "bigint": models.BigIntegerField}
    return kinds.get(TYPE, models.IntegerField)(**options)


class NumberConverter:
    """A path component that is the number of a job."""

    regex = r"-?[0-9]{1,20}"

    def to_python(self, value: str) -> Any:
        number = parse(value)
        if number is None:
            raise ValueError(value)
        return number

    def to_url(self, value: object) -> str:
        return str(value)
