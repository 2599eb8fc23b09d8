"""Statements sent to PostgreSQL in one round trip, so that no lock waits on the network (I13).

The server runs them as one transaction without waiting for the client in between. A client that disappears can't leave
a transaction open that holds rows.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from typing import Any

from django.db import OperationalError, connection
from psycopg.errors import DeadlockDetected, SerializationFailure

from opsconsole.kit import row_locks
from opsconsole_worker.database import door
from opsconsole_worker.database.door import Rows

__all__ = ["RowLocked", "Rows", "run"]

MOST_TRIES = 3
PAUSE_SECONDS = (0.05, 0.2)

# Each statement needs its own snapshot, to see what was committed while an earlier one waited for a lock.
_OWN_TRANSACTION = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"


class RowLocked(OperationalError, door.RowLocked):
    """Another transaction held a row for longer than the lock timeout. Nothing was changed; a retry may help."""


def run(statements: str, parameters: Mapping[str, Any]) -> list[Rows]:
    """Run these statements, separated by semicolons, as one transaction; return the rows of each one.

    In a caller's transaction they are part of it, and nothing is committed. Raise ``RowLocked`` instead of waiting for
    long. Parameters have names, because all statements share them.

    What the server undid for the sake of another transaction (a deadlock, a serialization failure) is tried again, unless
    the transaction is a caller's.
    """
    for _ in range(0 if connection.in_atomic_block else MOST_TRIES - 1):
        try:
            return _run(statements, parameters)
        except OperationalError as error:
            if not isinstance(error.__cause__, DeadlockDetected | SerializationFailure):
                raise
            time.sleep(random.uniform(*PAUSE_SECONDS))
    return _run(statements, parameters)


def _run(statements: str, parameters: Mapping[str, Any]) -> list[Rows]:
    lock_timeout = f"SET LOCAL lock_timeout = {round(row_locks.WAIT.total_seconds() * 1000)}"
    preamble = [lock_timeout] if connection.in_atomic_block else [_OWN_TRANSACTION, lock_timeout]
    with connection.cursor() as cursor:
        try:
            # A message of the simple protocol may have several statements; Django inserts the parameters itself.
            cursor.execute(";\n".join([*preamble, statements]), parameters)
        except OperationalError as error:
            if row_locks.waited_in_vain(error):
                raise RowLocked(*error.args) from error.__cause__
            raise
        results = [cursor.fetchall() if cursor.description else []]
        while cursor.nextset():
            results.append(cursor.fetchall() if cursor.description else [])
    return results[len(preamble) :]
