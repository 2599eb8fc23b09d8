"""Other job queues on PostgreSQL, used through their public interfaces and tables: only the database part.

None of them sends a message to another system or records why it recovered a job.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from uuid import UUID

import asyncpg
import procrastinate
import psycopg
from chancy import Chancy, Worker
from chancy.plugins.recovery import Recovery
from pgqueuer.queries import EntrypointExecutionParameter, Queries
from pgqueuer.types import QueueEntrypoint, QueueManagerId
from procrastinate import PsycopgConnector
from psycopg.rows import dict_row

from bench.shape import LIVE_BEAT, STALE_BEAT, THRESHOLD, Shape

# The batch size of the console, and the default of PgQueuer's own ``run``.
PAGE, PGQUEUER_BATCH = 500, 10
BEAT = f"CASE WHEN stale THEN {STALE_BEAT} ELSE {LIVE_BEAT} END"


@dataclass(frozen=True)
class Peer:
    """Another job queue. ``ways`` maps names to functions that recover: each returns a number of jobs and seconds."""

    name: str
    build: Callable[[str, Shape], Coroutine[None, None, None]]
    ways: dict[str, Callable[[str], Coroutine[None, None, tuple[int, float]]]]


async def build_pgqueuer(url: str, shape: Shape) -> None:
    """Build rows for PgQueuer, which keeps no ended jobs: queue those for an entrypoint without a consumer."""
    connection = await asyncpg.connect(url)
    try:
        await Queries.from_asyncpg_connection(connection).install()
    finally:
        await connection.close()
    await _execute(
        url,
        f"""INSERT INTO pgqueuer (priority, queue_manager_id, created, updated, heartbeat, execute_after, status,
                                  entrypoint, payload)
            SELECT 0, CASE WHEN running THEN md5('worker ' || n)::uuid END, at, at, {BEAT}, at,
                   (CASE WHEN running THEN 'picked' ELSE 'queued' END)::pgqueuer_status,
                   CASE WHEN running THEN 'submit' ELSE 'later' END, '{{}}'
              FROM {shape.numbered()} ORDER BY n""",
    )


async def recover_pgqueuer(url: str, batch: int = PAGE) -> tuple[int, float]:
    """Recover with PgQueuer, whose workers take over stale jobs with ``dequeue``, one batch per call."""
    connection = await asyncpg.connect(url)
    queries = Queries.from_asyncpg_connection(connection)
    recovered = 0
    try:
        began = time.perf_counter()
        while jobs := await queries.dequeue(
            batch_size=batch,
            entrypoints={QueueEntrypoint("submit"): EntrypointExecutionParameter(concurrency_limit=0)},
            queue_manager_id=QueueManagerId(UUID(int=1)),
            global_concurrency_limit=None,
            heartbeat_timeout=THRESHOLD,
        ):
            recovered += len(jobs)
        return recovered, time.perf_counter() - began
    finally:
        await connection.close()


async def build_chancy(url: str, shape: Shape) -> None:
    """Build rows for Chancy: one worker per run; dead workers are still in its table of workers."""
    async with Chancy(url, log=_quiet) as chancy:
        await chancy.migrate()
    await _execute(
        url,
        f"""INSERT INTO chancy_workers (worker_id, tags, queues, last_seen, expires_at)
            SELECT 'worker-' || n, '{{}}', '{{default}}', {BEAT}, {BEAT} + interval '90 seconds'
              FROM {shape.numbered()} WHERE running ORDER BY n""",
        f"""INSERT INTO chancy_jobs (id, queue, func, state, attempts, taken_by, claim_id, created_at, started_at,
                                     completed_at)
            SELECT md5('job ' || n)::uuid, 'default', 'submit',
                   CASE WHEN running THEN 'running' ELSE 'succeeded' END, 1,
                   CASE WHEN running THEN 'worker-' || n END,
                   CASE WHEN running THEN md5('claim ' || n)::uuid END, at, at,
                   CASE WHEN NOT running THEN at END
              FROM {shape.numbered()} ORDER BY n""",
    )


async def recover_chancy(url: str) -> tuple[int, float]:
    """Recover with Chancy's ``Recovery`` plugin, in one transaction with one notification per job."""
    async with Chancy(url, log=_quiet) as chancy:
        worker = Worker(chancy, heartbeat_timeout=int(THRESHOLD.total_seconds()))
        async with chancy.pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            began = time.perf_counter()
            recovered = await Recovery.recover(worker, chancy, cursor)
            await connection.commit()
            return recovered, time.perf_counter() - began


async def build_procrastinate(url: str, shape: Shape) -> None:
    """Build rows for procrastinate: one worker per run, with its heartbeat."""
    app = procrastinate.App(connector=PsycopgConnector(conninfo=url))
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
    await _execute(
        url,
        f"""INSERT INTO procrastinate_workers (id, last_heartbeat) OVERRIDING SYSTEM VALUE
            SELECT n, {BEAT} FROM {shape.numbered()} WHERE running ORDER BY n""",
        f"""INSERT INTO procrastinate_jobs (queue_name, task_name, status, attempts, worker_id)
            SELECT 'default', 'submit', (CASE WHEN running THEN 'doing' ELSE 'succeeded' END)::procrastinate_job_status,
                   1, CASE WHEN running THEN n END
              FROM {shape.numbered()} ORDER BY n""",
    )


async def recover_procrastinate(url: str) -> tuple[int, float]:
    """Recover with procrastinate as documented: ``get_stalled_jobs``, then ``retry_job`` for each."""
    app = procrastinate.App(connector=PsycopgConnector(conninfo=url))
    recovered = 0
    async with app.open_async():
        manager = app.job_manager
        began = time.perf_counter()
        for job in await manager.get_stalled_jobs(seconds_since_heartbeat=THRESHOLD.total_seconds()):
            await manager.retry_job(job)
            recovered += 1
        return recovered, time.perf_counter() - began


async def _execute(url: str, *statements: str) -> None:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        for statement in statements:
            await connection.execute(statement)


_quiet = logging.getLogger("bench.quiet")
_quiet.setLevel(logging.ERROR)

PEERS = (
    Peer(
        "pgqueuer",
        build_pgqueuer,
        {
            f"dequeue, {PAGE} a call": recover_pgqueuer,
            f"dequeue, {PGQUEUER_BATCH} a call, its default": partial(recover_pgqueuer, batch=PGQUEUER_BATCH),
        },
    ),
    Peer("chancy", build_chancy, {"Recovery.recover, all at once": recover_chancy}),
    Peer(
        "procrastinate", build_procrastinate, {"get_stalled_jobs, retry_job for each": recover_procrastinate}
    ),
)
