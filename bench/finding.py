"""The server's time to find a page of stale runs, at the measured size and at five times as many rows."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

import psycopg
from psycopg import ClientCursor

from bench import plain

TIMES = 50
# The indexes of the console; without them only the primary keys stay.
SECONDARY_INDEXES = """
SELECT indexname, indexdef FROM pg_indexes
 WHERE schemaname = 'public' AND tablename IN ('jobs', 'worker_heartbeats') AND indexname NOT LIKE '%_pkey'
"""


@dataclass(frozen=True)
class ServerTime:
    """Milliseconds, of planning and of executing: medians, and the slowest but one in twenty executions."""

    planning: float
    executing: float
    nearly_worst: float


def server_time(url: str, sql: str, params: Any, times: int = TIMES) -> ServerTime:
    """EXPLAIN ANALYZE of the statement, each in a transaction that is rolled back."""
    plans = []
    with psycopg.connect(url, cursor_factory=ClientCursor) as connection:
        for _ in range(times):
            row = connection.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {sql}", params).fetchone()
            connection.rollback()
            assert row
            plans.append(row[0][0])
    executing = [plan["Execution Time"] for plan in plans]
    return ServerTime(
        planning=median(plan["Planning Time"] for plan in plans),
        executing=median(executing),
        nearly_worst=quantiles(executing, n=20)[-1],
    )


def grow(url: str, rows: int, more: int) -> None:
    """Add ``more`` completed jobs to the ``rows`` there are; indexes are built again afterwards, which is faster."""
    added = f"""
        INSERT INTO jobs (id, customer_id, package_size, status, created_at, updated_at, started_at, completed_at)
        SELECT md5('job ' || n)::uuid, 'customer-' || n % 5000, 50, 'completed', at, at, at, at
          FROM (SELECT n, now() - interval '1 day' AS at FROM generate_series({rows + 1}, {rows + more}) AS n) AS job"""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        indexes = connection.execute(SECONDARY_INDEXES).fetchall()
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}")
        connection.execute(added)
        for _, definition in indexes:
            connection.execute(definition)
        connection.execute("VACUUM (ANALYZE)")


def only_plain_indexes(url: str) -> None:
    """Leave the indexes that the plain plan has."""
    with psycopg.connect(url, autocommit=True) as connection:
        for name, _ in connection.execute(SECONDARY_INDEXES).fetchall():
            connection.execute(f"DROP INDEX {name}")
        connection.execute(plain.INDEX)
        connection.execute("VACUUM (ANALYZE) jobs")
