"""``make bench-job``: what one job costs the database, from its enqueueing to its end, on a new PostgreSQL.

One process does it all: producer, dispatcher and worker, over a stub of SQS that answers after 8 ms. Each part is measured over
many jobs: statements and milliseconds per job, the bytes that it writes to the log (WAL), and what the tables hold per job
afterwards. These are the constants of docs/scaling.md. Environment: BENCH_JOBS (2000).
"""

from __future__ import annotations

import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil

from bench.cluster import Cluster, running
from bench.recovery import QUEUE_URL, set_up_django

BATCH, BEATS = 100, 10
TABLES = ("jobs", "job_events", "outbox", "worker_heartbeats")


@dataclass
class Part:
    """What a part took for all jobs: seconds, seconds of PostgreSQL's processes, statements, calls to SQS, bytes of WAL."""

    name: str
    times: int
    seconds: float = 0.0
    server_seconds: float = 0.0
    statements: int = 0
    calls: int = 0
    wal: int = 0

    @property
    def row(self) -> str:
        return (
            f"| {self.name} | {self.times:,} | {self.statements / self.times:.2f} | {self.seconds / self.times * 1000:.2f} "
            f"| {self.server_seconds / self.times * 1000:.2f} | {self.wal / self.times:,.0f} | {self.calls / self.times:.2f} |"
        )


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with running(shared_buffers="1GB", autovacuum="off") as cluster:
        cluster.create("ours")
        set_up_django(cluster)
        print(_measure(cluster, int(os.environ.get("BENCH_JOBS", "2000"))))


def _measure(cluster: Cluster, count: int) -> str:
    # These import models, which need the settings.
    from django.core.management import call_command  # noqa: PLC0415

    from bench.stub_sqs import StubSqs  # noqa: PLC0415
    from jobs.intake.enqueue import NewJob, enqueue, enqueue_many  # noqa: PLC0415
    from jobs.messaging.dispatcher import dispatch  # noqa: PLC0415
    from jobs.models import Job, Outbox  # noqa: PLC0415
    from opsconsole_worker.runs import heartbeats, lifecycle  # noqa: PLC0415
    from opsconsole_worker.runs.heartbeats import Worker  # noqa: PLC0415
    from opsconsole_worker.runs.lifecycle import Run  # noqa: PLC0415

    call_command("migrate", verbosity=0)
    stub, parts = StubSqs(QUEUE_URL), []
    payload = {"directories": ["one", "two", "three"], "note": "x" * 200}

    def new(number: int) -> NewJob:
        return NewJob(customer_id=f"customer-{number % 500}", package_size=50, payload=payload)

    def measured(name: str, times: int, work: Callable[[], Any]) -> None:
        part = Part(name, times)
        with _watched(cluster, part, stub):
            work()
        parts.append(part)

    single, rest = count // 10, count - count // 10
    measured("enqueueing, one by one", single, lambda: [enqueue(new(number)) for number in range(single)])
    batches = [[new(number) for number in range(BATCH)] for _ in range(rest // BATCH)]
    measured(
        f"enqueueing, {BATCH} at once", BATCH * len(batches), lambda: [enqueue_many(each) for each in batches]
    )
    ids = list(Job.objects.order_by("created_at", "pk").values_list("pk", flat=True))
    measured("dispatching", len(ids), lambda: dispatch(limit=len(ids)))
    assert Outbox.objects.filter(state=Outbox.State.SENT).count() == len(ids)
    worker = Worker("bench-worker", hostname="bench", pid=1, start="1")
    runs = [Run(job_id, 1, worker) for job_id in ids]
    measured("claiming", len(ids), lambda: [lifecycle.claim(job_id, 1, worker) for job_id in ids])
    beaten = ids[: max(1, len(ids) // BEATS)]
    measured(
        "a heartbeat",
        BEATS * len(beaten),
        lambda: [heartbeats.beat(worker, job_id, 1) for job_id in beaten for _ in range(BEATS)],
    )
    measured("completing", len(ids), lambda: [lifecycle.complete(run) for run in runs])
    assert Job.objects.filter(status="completed").count() == len(ids)
    return "\n".join(_table(parts, cluster, len(ids)))


@contextmanager
def _watched(cluster: Cluster, part: Part, stub: Any) -> Iterator[None]:
    from django.db import connection  # noqa: PLC0415

    def count(execute: Callable[..., Any], *call: Any) -> Any:
        part.statements += 1
        return execute(*call)

    calls, wal, used = stub.calls, _wal(), _server_seconds(cluster)
    began = time.perf_counter()
    with connection.execute_wrapper(count):
        yield
    part.seconds = time.perf_counter() - began
    part.server_seconds = _server_seconds(cluster) - used
    part.calls, part.wal = stub.calls - calls, _wal() - wal


def _wal() -> int:
    from django.db import connection  # noqa: PLC0415

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint")
        return int(cursor.fetchone()[0])


def _server_seconds(cluster: Cluster) -> float:
    server = psutil.Process(cluster.pid)
    return sum(sum(each.cpu_times()[:2]) for each in [server, *server.children()])


def _table(parts: list[Part], cluster: Cluster, count: int) -> Iterator[str]:
    yield f"Python {platform.python_version()}, PostgreSQL {cluster.version}, {count:,} jobs.\n"
    yield "| part | times | statements | ms | of these PostgreSQL's processor, ms | bytes of WAL | calls to SQS |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    yield from (part.row for part in parts)
    yield "\n| table, with its indexes | bytes per job |\n|---|---:|"
    for table, size in _sizes().items():
        yield f"| {table} | {size / count:,.0f} |"


def _sizes() -> dict[str, int]:
    from django.db import connection  # noqa: PLC0415

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name, coalesce((SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree(name::regclass)),"
            "                      pg_total_relation_size(name::regclass))::bigint"
            "  FROM unnest(%s::text[]) AS name",
            [list(TABLES)],
        )
        return dict(cursor.fetchall())


if __name__ == "__main__":
    main()
