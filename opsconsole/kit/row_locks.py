"""Row locks: the only place that locks rows for a change (I13).

Rows are locked FOR NO KEY UPDATE. A foreign key to a row takes FOR KEY SHARE on it, which only the stronger FOR UPDATE
refuses: with it, every open transaction that inserted a child row would block the row. An UPDATE of columns that are
no key takes the same lock by itself.

No lock waits for ever: ``locked`` waits for other transactions at most ``WAIT``, ``locked_if_free`` does not wait but
leaves out the rows that others have locked, and ``locked_at_once`` raises when there is such a row. All three need a
transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TypeVar

from django.db import DatabaseError, connection
from django.db.models import QuerySet
from psycopg.errors import LockNotAvailable

# How long a statement waits for a row that another transaction has locked.
WAIT = timedelta(seconds=3)

# For SQL whose rows are then deleted: DELETE takes FOR UPDATE anyway, and would wait for what a weaker lock lets pass.
TO_DELETE_IF_FREE = "FOR UPDATE SKIP LOCKED"

Rows = TypeVar("Rows", bound="QuerySet[Any, Any]")


def locked(rows: Rows, *, wait: timedelta = WAIT, of: Sequence[str] = ()) -> Rows:
    """Return these rows such that reading them locks them. A wait beyond the limit raises ``OperationalError``.

    Where several rows can be locked at once, order them, so that two transactions can't deadlock. ``of`` names the
    tables to lock where a query joins several, as in ``select_for_update``.
    """
    limit_waits(wait)
    return rows.select_for_update(no_key=True, of=of)


def locked_if_free(rows: Rows, *, of: Sequence[str] = ()) -> Rows:
    """Return those of these rows that nobody else has locked, such that reading them locks them."""
    return rows.select_for_update(no_key=True, skip_locked=True, of=of)


def locked_at_once(rows: Rows, *, of: Sequence[str] = ()) -> Rows:
    """Return these rows such that reading them locks them, or raises ``OperationalError`` when another has one of them."""
    return rows.select_for_update(no_key=True, nowait=True, of=of)


def if_free_in_statement(of: str = "") -> str:
    """Return the same as ``locked_if_free`` as a clause of SQL. ``of``: the alias of the table to lock."""
    return f"FOR NO KEY UPDATE {f'OF {of} ' if of else ''}SKIP LOCKED"


def limit_waits(wait: timedelta = WAIT) -> None:
    """Let each later statement of this transaction wait at most this long per lock, also UPDATE and INSERT."""
    milliseconds = max(1, round(wait.total_seconds() * 1000))  # To PostgreSQL, zero means for ever.
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{milliseconds}ms"])


def waited_in_vain(error: DatabaseError) -> bool:
    """Tell whether this error means that another transaction kept its lock for longer than the limit."""
    return isinstance(error.__cause__, LockNotAvailable)
