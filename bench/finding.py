"""The server's time to find a page of stale runs, at the measured size and with five times as many rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

import psycopg
from psycopg import ClientCursor

# The candidate and its number of rows.
Key = tuple[str, int]

TIMES = 50
WARM_UP = 5
# Inserts are faster without these indexes; the primary keys stay.
SECONDARY_INDEXES = """
SELECT indexname, indexdef FROM pg_indexes
 WHERE schemaname = 'public' AND tablename IN ('jobs', 'worker_heartbeats') AND indexname NOT LIKE '%_pkey'
"""


@dataclass(frozen=True)
class Question:
    """A statement with its parameters, for the database at ``url``."""

    url: str
    sql: str
    params: Any = None


@dataclass(frozen=True)
class ServerTime:
    """Milliseconds: the medians of planning and execution, and the 95th percentile of execution."""

    planning: float
    executing: float
    nearly_worst: float


def server_times(questions: Mapping[Key, Question]) -> dict[Key, ServerTime]:
    """Run EXPLAIN ANALYZE for each query in turn, so that noise affects all alike; roll everything back."""
    plans: dict[Key, list[dict[str, float]]] = {key: [] for key in questions}
    with ExitStack() as stack:
        connections = {
            key: stack.enter_context(psycopg.connect(question.url, cursor_factory=ClientCursor))
            for key, question in questions.items()
        }
        for _ in range(WARM_UP + TIMES):
            for key, question in questions.items():
                explain = f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {question.sql}"
                row = connections[key].execute(explain, question.params).fetchone()
                connections[key].rollback()
                assert row
                plans[key].append(row[0][0])
    return {key: _server_time(of_key[WARM_UP:]) for key, of_key in plans.items()}


def _server_time(plans: Sequence[Mapping[str, float]]) -> ServerTime:
    executing = [plan["Execution Time"] for plan in plans]
    return ServerTime(
        planning=median(plan["Planning Time"] for plan in plans),
        executing=median(executing),
        nearly_worst=quantiles(executing, n=20)[-1],
    )


def grow(url: str, rows: int, grown: int) -> None:
    """Add completed jobs to the existing ``rows``, up to ``grown``; rebuild the indexes afterwards."""
    added = f"""
        INSERT INTO jobs (id, customer_id, package_size, status, created_at, updated_at, started_at, completed_at)
        SELECT md5('job ' || n)::uuid, 'customer-' || n % 5000, 50, 'completed', at, at, at, at
          FROM (SELECT n, now() - interval '1 day' AS at FROM generate_series({rows + 1}, {grown}) AS n) AS job"""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        with without_indexes(connection):
            connection.execute(added)
        connection.execute("VACUUM (ANALYZE)")
        connection.execute("CHECKPOINT")


@contextmanager
def without_indexes(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Drop the secondary indexes of jobs and heartbeats, and build them again afterwards."""
    indexes = connection.execute(SECONDARY_INDEXES).fetchall()
    for name, _ in indexes:
        connection.execute(f"DROP INDEX {name}")
    yield
    for _, definition in indexes:
        connection.execute(definition)
