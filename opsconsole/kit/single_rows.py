"""Tables of one row that ``migrate`` writes, such as the state of recovery: somebody may have deleted it, or a restore left it out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from django.db import DatabaseError
from django.db.models import Model

Row = TypeVar("Row", bound=Model)


class RowMissing(DatabaseError):
    """A table has lost its only row. Loops treat it like an outage, and go on when ``migrate`` has written it again."""


def only(model: type[Row], rows: Iterable[Any]) -> Row:
    """Return the only row of this table. Raise ``RowMissing``."""
    row: Row | None = next(iter(rows), None)
    if row is None:
        raise missing(model)
    return row


def missing(model: type[Model]) -> RowMissing:
    """Return what is raised where the table of this model is empty."""
    table = model._meta.db_table  # noqa: SLF001 - documented
    return RowMissing(f"{table} has lost its only row, which python manage.py migrate writes again")
