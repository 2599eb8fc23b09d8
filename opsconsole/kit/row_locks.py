"""Row locks: the only place that locks rows for a change (I13), with the clauses of ``opsconsole_worker.database.row_locks``.

Rows are locked FOR NO KEY UPDATE. A foreign key to a row takes FOR KEY SHARE on it, which only the stronger FOR UPDATE
refuses: with it, every open transaction that inserted a child row would block the row. An UPDATE of columns that are
no key takes the same lock by itself.

No lock waits for ever: ``locked`` waits for other transactions at most ``WAIT``, ``locked_if_free`` does not wait but
leaves out the rows that others have locked, and ``locked_at_once`` raises when there is such a row. All of them need a
transaction. ``WaitBudget`` is for work on many rows, which must not wait for each of them anew.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

from django.db import DatabaseError, OperationalError, connection, transaction
from django.db.models import QuerySet
from psycopg.errors import LockNotAvailable, QueryCanceled

from opsconsole_worker.database.row_locks import NO_KEY_UPDATE, WAIT, if_free_in_statement, in_statement

__all__ = [
    "IDLE",
    "NO_KEY_UPDATE",
    "TO_DELETE_IF_FREE",
    "WAIT",
    "WaitBudget",
    "if_free_in_statement",
    "in_statement",
    "limit_transaction",
    "limit_waits",
    "locked",
    "locked_at_once",
    "locked_if_free",
    "waited_in_vain",
]

# How long a transaction that locks many rows may be idle between two statements.
IDLE = timedelta(seconds=20)

# For SQL whose rows are then deleted: DELETE takes FOR UPDATE anyway, and would wait for what a weaker lock lets pass.
TO_DELETE_IF_FREE = "FOR UPDATE SKIP LOCKED"

Rows = TypeVar("Rows", bound="QuerySet[Any, Any]")
Row = TypeVar("Row")


def locked(rows: Rows, *, wait: timedelta | None = None, of: Sequence[str] = ()) -> Rows:
    """Return these rows such that reading them locks them. A wait beyond the limit (default: ``WAIT``) raises
    ``OperationalError``.

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


def limit_waits(wait: timedelta | None = None) -> None:
    """Let each later statement of this transaction wait at most this long per lock, also UPDATE and INSERT."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('lock_timeout', %s, true)", [_setting(WAIT if wait is None else wait)]
        )


def _setting(wait: timedelta) -> str:
    return f"{max(1, round(wait.total_seconds() * 1000))}ms"  # To PostgreSQL, zero means for ever.


def limit_transaction(wait: timedelta | None = None, **settings: str) -> None:
    """Limit the waits of this transaction, and let the server end its session when its client says nothing for ``IDLE``.

    A client that lost its power or its network says so to nobody, and the server would keep its locks for hours.
    ``settings`` are further ones that count until the transaction ends. All of it is one round trip.
    """
    values = settings | {
        "lock_timeout": _setting(WAIT if wait is None else wait),
        "idle_in_transaction_session_timeout": _setting(IDLE),
    }
    each = ", ".join(["set_config(%s, %s, true)"] * len(values))
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {each}", [text for setting in values.items() for text in setting])


def waited_in_vain(error: DatabaseError) -> bool:
    """Tell whether this error means that another transaction kept its lock for longer than the limit."""
    return isinstance(error.__cause__, LockNotAvailable)


class WaitBudget:
    """How long one request waits for locks altogether, however many rows and tries it takes.

    PostgreSQL's own limit counts for each lock separately: twelve rows that others hold would take twelve times as
    long, and trying the rows again one by one would do so once more.
    """

    def __init__(self, wait: timedelta | None = None) -> None:
        self.left = WAIT if wait is None else wait

    def lock(self, rows: QuerySet[Any, Row], *, of: Sequence[str] = ()) -> list[Row]:
        """Lock these rows in their order and return them, without those that others still hold when the time is up.

        Later statements of the transaction wait at most for what is then left.
        """
        if self.left:
            began = time.monotonic()
            try:
                with transaction.atomic(), self._limits():
                    locked_rows = list(rows.select_for_update(no_key=True, of=of))
            except OperationalError as error:
                if not isinstance(error.__cause__, LockNotAvailable | QueryCanceled):
                    raise
                self.left = timedelta(0)
            else:
                self._pay(time.monotonic() - began)
                return locked_rows
        limit_waits(self.left)
        return list(locked_if_free(rows, of=of))

    def note(self, error: DatabaseError) -> None:
        """Wait no more if this error means that a wait was in vain."""
        if waited_in_vain(error):
            self.left = timedelta(0)

    def _pay(self, seconds: float) -> None:
        self.left = max(timedelta(0), self.left - timedelta(seconds=seconds))

    @contextmanager
    def _limits(self) -> Iterator[None]:
        """Limit each wait of the next statement, and all its waits together."""
        limit = _setting(self.left)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT current_setting('statement_timeout'), set_config('lock_timeout', %s, true), "
                "set_config('statement_timeout', %s, true)",
                [limit, limit],
            )
            usual = cursor.fetchone()[0]
            yield
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [usual])
