"""Other job queues on PostgreSQL, used through their public interfaces and tables: only the database part.

None of them sends a message to another system or records why it recovered a job.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from uuid import UUID

import asyncpg
import awa
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
# The default is half a minute.
AWA_LOOKS_EVERY = 0.1
PATIENCE = 120.0
BEAT = f"CASE WHEN stale THEN {STALE_BEAT} ELSE {LIVE_BEAT} END"


@dataclass(frozen=True)
class Peer:
    """Another job queue. ``ways`` maps names to functions that recover: each returns a number of jobs and seconds."""

    name: str
    build: Callable[[str, Shape], Coroutine[None, None, None]]
    ways: dict[str, Callable[[str], Coroutine[None, None, tuple[int, float]]]]

    @property
    def database(self) -> str:
        return self.name.replace("-", "_")


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


async def build_awa(url: str, shape: Shape) -> None:
    """Build rows for Awa, in the storage that its migrations choose: each running job has its own heartbeat."""
    client = awa.AsyncClient(_with_host(url))
    await client.migrate()
    await client.close()
    await _execute(
        url,
        f"""INSERT INTO awa.jobs_hot (kind, queue, state, attempt, run_at, heartbeat_at, attempted_at, finalized_at,
                                      created_at, run_lease)
            SELECT 'submit', 'default', (CASE WHEN running THEN 'running' ELSE 'completed' END)::awa.job_state, 1, at,
                   CASE WHEN running THEN {BEAT} END, at, CASE WHEN NOT running THEN at END, at, 1
              FROM {shape.numbered()} ORDER BY n""",
    )


async def recover_awa(url: str) -> tuple[int, float]:
    """Recover with Awa, whose maintenance leader looks for stale heartbeats, here as often as it may be asked to.

    The time includes its start and its election, up to twice ``AWA_LOOKS_EVERY``.
    """
    client = awa.AsyncClient(_with_host(url))
    # It does not start without a kind of job that it works on.
    client.task(NoJob, queue="nothing")(_do_nothing)
    milliseconds = round(AWA_LOOKS_EVERY * 1000)
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        stale = await _stale_of_awa(connection)
        began = time.perf_counter()
        await client.start(
            [("nothing", 1)],
            leader_election_interval_ms=milliseconds,
            heartbeat_rescue_interval_ms=milliseconds,
            heartbeat_staleness_ms=round(THRESHOLD.total_seconds() * 1000),
        )
        try:
            # What is recovered moves to other tables at once.
            while await _stale_of_awa(connection):
                if time.perf_counter() - began > PATIENCE:
                    raise TimeoutError(f"Awa did not recover {stale} jobs in {PATIENCE} s")
                await asyncio.sleep(0.005)
            return stale, time.perf_counter() - began
        finally:
            await client.shutdown()
            await client.close()


@dataclass(frozen=True)
class NoJob:
    """A kind of job of which there is none."""


async def _do_nothing(_job: object) -> None:
    """Work on no job."""


async def _stale_of_awa(connection: psycopg.AsyncConnection) -> int:
    found = await connection.execute(
        "SELECT count(*) FROM awa.jobs_hot WHERE state = 'running' AND heartbeat_at < now()"
    )
    row = await found.fetchone()
    return int(row[0]) if row else 0


def _with_host(url: str) -> str:
    """Return the URL with a host, which Awa's client wants although the socket's folder is named."""
    return url.replace("@/", "@localhost/", 1)


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
        "awa-pg", build_awa, {f"its leader, which looks every {AWA_LOOKS_EVERY * 1000:.0f} ms": recover_awa}
    ),
    Peer(
        "procrastinate", build_procrastinate, {"get_stalled_jobs, retry_job for each": recover_procrastinate}
    ),
)
