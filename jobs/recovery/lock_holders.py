"""Lock holders: the sessions whose open transactions keep the rows of jobs locked.

PostgreSQL keeps row locks in the rows and does not list them. Only who waits for one learns whose it is: a second
connection waits for a moment, and ``pg_blocking_pids`` says for whom.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from django.db import OperationalError, connection
from psycopg import sql

from jobs.models.columns import JOBS
from opsconsole.kit.durations import spell
from opsconsole.kit.mapping import literal
from opsconsole.kit.row_locks import NO_KEY_UPDATE

# Rows that one transaction locked are asked about once; this is how many transactions are asked about at most.
MOST_ASKED = 5
LONGEST_WAIT_SECONDS = 0.5

_ID = JOBS.sql_column("id")

# The beginning of the queue: who waits for nobody. 0 is a prepared transaction, which no session belongs to.
_BLOCKERS = """
WITH RECURSIVE blocker (pid) AS (
    SELECT unnest(pg_blocking_pids(%s)) UNION SELECT unnest(pg_blocking_pids(pid)) FROM blocker WHERE pid <> 0
)
SELECT pid FROM blocker WHERE pid = 0 OR pg_blocking_pids(pid) = '{}'
"""
_SESSION = """
SELECT pid, coalesce(usename::text, ''), coalesce(application_name, ''), coalesce(state, ''), '', xact_start
  FROM pg_stat_activity WHERE pid = ANY(%s) ORDER BY xact_start LIMIT 1
"""
_PREPARED = "SELECT NULL::int, owner::text, '', '', gid, prepared FROM pg_prepared_xacts WHERE transaction = %s::text::xid"


@dataclass(frozen=True)
class LockHolder:
    """A session, or a prepared transaction (``pid`` None). What the console's role may not see is '' or None."""

    pid: int | None
    role: str
    application: str
    state: str
    prepared_as: str
    since: datetime | None

    @property
    def ending(self) -> str:
        """Return the SQL that ends it."""
        if self.pid is None:
            return f"ROLLBACK PREPARED {literal(self.prepared_as)}"
        return f"SELECT pg_terminate_backend({self.pid})"

    def sentence(self, now: datetime) -> str:
        """Say who it is, and how old the transaction is now."""
        age = "has an unknown age (the console's role lacks pg_read_all_stats)"
        if self.since:
            age = f"is {spell(max(now - self.since, timedelta(0)))} old"
        if self.pid is None:
            return f"the prepared transaction '{self.prepared_as}', which {age}"
        known = ", ".join(text for text in (self.application, self.state) if text)
        return (
            f"session {self.pid} of role {self.role}{f' ({known})' if known else ''}, whose transaction {age}"
        )


def holders_of(job_ids: Sequence[UUID]) -> dict[UUID, LockHolder]:
    """Return who holds the locks of these jobs that others have locked, without those just released."""
    if not job_ids:
        return {}
    by_transaction: dict[str, list[UUID]] = {}
    for transaction_id, job_id in _rows(
        f"SELECT xmax::text, {_ID} FROM {JOBS.sql} WHERE {_ID} = ANY(%s)",  # noqa: S608 - names
        [list(job_ids)],
    ):
        by_transaction.setdefault(transaction_id, []).append(job_id)
    holders: dict[UUID, LockHolder] = {}
    for transaction_id, ids in list(by_transaction.items())[:MOST_ASKED]:
        if holder := _holder(ids[0], transaction_id):
            holders |= dict.fromkeys(ids, holder)
    return holders


def _holder(job_id: UUID, transaction_id: str) -> LockHolder | None:
    try:
        with _waiting_for(job_id) as waiter:
            pids = _blockers(waiter)
    except OperationalError:
        return None  # There is no second connection; the next sweep asks again.
    statement, parameter = (_PREPARED, transaction_id) if pids == [0] else (_SESSION, pids)
    return next((LockHolder(*facts) for facts in _rows(statement, [parameter])), None) if pids else None


@contextmanager
def _waiting_for(job_id: UUID) -> Iterator[int]:
    """Let a second connection wait for the row's lock, and return its process id."""
    second: Any = connection.copy()
    second.ensure_connection()
    try:
        with second.cursor() as cursor:
            # A pooler may use another session for each transaction.
            cursor.execute(
                "BEGIN; SELECT set_config('lock_timeout', %s, true), pg_backend_pid()",
                [f"{LONGEST_WAIT_SECONDS}s"],
            )
            cursor.nextset()
            waiter: int = cursor.fetchone()[1]
        wait = sql.SQL("SELECT FROM {} WHERE {} = {} {}").format(
            sql.SQL(JOBS.sql), sql.SQL(_ID), job_id, sql.SQL(NO_KEY_UPDATE)
        )
        second.connection.pgconn.send_query(wait.as_bytes(second.connection))
        yield waiter
        # A courtesy that may not arrive through a proxy: the wait ends by its own limit, too.
        with suppress(psycopg.OperationalError):
            second.connection.cancel_safe(timeout=LONGEST_WAIT_SECONDS)
    finally:
        second.close()


def _blockers(waiter: int) -> list[int]:
    until = time.monotonic() + LONGEST_WAIT_SECONDS
    while not (pids := [pid for (pid,) in _rows(_BLOCKERS, [waiter])]) and time.monotonic() < until:
        time.sleep(0.01)
    return pids


def _rows(statement: str, parameters: list[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())
