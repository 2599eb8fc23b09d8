"""Changes of other people's live tables that wait for a lock only briefly, and then let everybody else pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.core.management.base import CommandError
from django.db import OperationalError, transaction
from psycopg.errors import LockNotAvailable

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

LOCK_TIMEOUT_MS = 2_000
LOCK_TRIES = 10
PAUSE_SECONDS = 1.0


def change_patiently(
    connection: BaseDatabaseWrapper, table: str, change: Callable[[], None], *, command: str = "migrate"
) -> None:
    """Call ``change``, each time in a transaction of its own, until it gets its lock on the table.

    It waits at most two seconds per try, because everybody else queues behind a waiting ALTER TABLE.
    """
    for attempt in range(1, LOCK_TRIES + 1):
        try:
            with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
                cursor.execute("SET LOCAL statement_timeout = 0")
                change()
        except OperationalError as error:
            if not isinstance(error.__cause__, LockNotAvailable):
                raise
            if attempt == LOCK_TRIES:
                raise CommandError(
                    f"Table {table} could not be locked in {LOCK_TRIES} tries: another transaction holds it. "
                    "It was not changed. Find the transaction in pg_stat_activity (the oldest xact_start), "
                    f"let it end, and run {command} again."
                ) from error
            time.sleep(PAUSE_SECONDS)
        else:
            return


@contextmanager
def session(connection: BaseDatabaseWrapper, **milliseconds: int) -> Iterator[None]:
    """Set limits for statements that no transaction may contain, such as those that build an index concurrently."""
    with connection.cursor() as cursor:
        for name, value in milliseconds.items():
            cursor.execute(f"SET {name} = {value}")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            for name in milliseconds:
                cursor.execute(f"RESET {name}")
