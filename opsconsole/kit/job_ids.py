"""The ids of jobs, in the type that they have in this database: uuid, bigint, integer or text.

Only this module and ``opsconsole_worker.job_ids``, which reads them, know the four types. Elsewhere an id is what ``parse``
returns; annotations call it a UUID.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib.postgres.functions import RandomUUID
from django.db import models

from opsconsole_worker.job_ids import LARGEST, LONGEST_TEXT, TYPE, WANTED, parse

__all__ = [
    "BEFORE_ALL",
    "CONVERTER",
    "LONGEST_TEXT",
    "TYPE",
    "WANTED",
    "JobId",
    "NumberConverter",
    "new",
    "parse",
    "primary_key",
    "reference",
]

# As the converter of an address, such as <uuid:job_id>. An address with anything else is not found.
CONVERTER = {"uuid": "uuid", "text": "path"}.get(TYPE, "job_number")
# Before every id, in the order of the database.
BEFORE_ALL: Any = {"uuid": UUID(int=0), "text": ""}.get(TYPE, -LARGEST.get(TYPE, 0) - 1)

if TYPE_CHECKING:
    JobId = UUID
else:
    # What schemas and routes of the API accept and describe.
    JobId = {"uuid": UUID, "text": str}.get(TYPE, int)


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
