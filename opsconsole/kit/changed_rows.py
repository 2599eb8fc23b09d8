"""Whether a change met the rows that it was about; ``opsconsole_worker.kept_rows`` says why it may not."""

from __future__ import annotations

from django.db import DatabaseError

from opsconsole_worker import kept_rows


class RowKept(DatabaseError, kept_rows.RowKept):
    """A row that the database kept from being changed, as one of its errors: loops and pages tell it as a refusal."""


def require_changed(changed: int, wanted: int, table: str) -> None:
    """Raise ``RowKept`` if fewer rows were changed than this transaction has locked for it."""
    if changed < wanted:
        raise RowKept(table)
