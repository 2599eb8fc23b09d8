"""The waits for locks that ended in vain: counted, because their seconds say more about the machine than about the code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import OperationalError, connection
from psycopg.errors import LockNotAvailable, QueryCanceled
from psycopg.pq import TransactionStatus

LIMIT = "SELECT (extract(epoch FROM current_setting('lock_timeout')::interval) * 1000)::int"
# "Do not wait": PostgreSQL takes zero for "for ever".
NONE = 1


@contextmanager
def waits_in_vain() -> Iterator[list[int]]:
    """Collect the limit in milliseconds of each statement that waited for a lock until its limit.

    Statements to which no wait was left don't count. 0 is a wait without a limit, which something else ended.
    """
    waits: list[int] = []

    def watch(execute: Callable[..., Any], sql: Any, params: Any, many: Any, context: Any) -> Any:
        session = context["connection"].connection
        if session.info.transaction_status == TransactionStatus.INERROR:  # It returns to a savepoint.
            return execute(sql, params, many, context)
        limit = session.execute(LIMIT).fetchone()[0]
        try:
            return execute(sql, params, many, context)
        except OperationalError as error:
            if isinstance(error.__cause__, LockNotAvailable | QueryCanceled) and limit != NONE:
                waits.append(limit)
            raise

    with connection.execute_wrapper(watch):
        yield waits
