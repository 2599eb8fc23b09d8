"""``make bench-bulk``: freezing and requeueing many failed jobs, in chunks and with one transaction per job.

One run measures everything on one PostgreSQL with default settings. Environment: BENCH_BULK_ROWS (1000000) jobs
in the table, BENCH_BULK_MEMBERS (5000) requeued, BENCH_BULK_FROZEN (100000) frozen, also by the cluster, BENCH_REPEATS (3),
BENCH_BULK_PARTS (all): words of the names of the parts to measure, such as 'answer,cluster'.
"""

from __future__ import annotations

import os
import signal
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bench.cluster import running
from bench.recovery import set_up_django

FILL = """
INSERT INTO jobs (customer_id, package_size, status, created_at, updated_at)
SELECT 'CUST-' || n %% 5000, 50, CASE WHEN n <= %(failed)s THEN 'failed' ELSE 'completed' END,
       now() - n * interval '1 second', now() - n * interval '1 second'
  FROM generate_series(1, %(rows)s) AS n
"""


def main() -> None:
    rows = int(os.environ.get("BENCH_BULK_ROWS", "1000000"))
    members = int(os.environ.get("BENCH_BULK_MEMBERS", "5000"))
    frozen = int(os.environ.get("BENCH_BULK_FROZEN", "100000"))
    # On SIGTERM, exit normally, so that the server is stopped and its folder removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with running() as cluster:
        cluster.create("ours")
        set_up_django(cluster)
        _fill(rows, max(members, frozen))
        _measure(members, frozen, int(os.environ.get("BENCH_REPEATS", "3")))


def _fill(rows: int, failed: int) -> None:
    from django.conf import settings  # noqa: PLC0415 - these need the settings
    from django.core.management import call_command  # noqa: PLC0415
    from django.db import connection  # noqa: PLC0415

    settings.OPSCONSOLE_BULK_PACE = 10_000
    settings.OPSCONSOLE_BULK_MOST = 1_000_000
    settings.OPSCONSOLE_BULK_TRIAL_SIZE = 0
    call_command("migrate", verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute(FILL, {"rows": rows, "failed": failed})
        cursor.execute("VACUUM ANALYZE jobs")
    print(f"{rows:,} jobs, {failed:,} of them failed\n")


def _measure(members: int, frozen: int, repeats: int) -> None:
    from jobs.bulk.registry import kind_of  # noqa: PLC0415
    from jobs.models import Job  # noqa: PLC0415

    # As jobs are planned whose state alone does not decide.
    one_by_one = replace(kind_of("requeue"), alike=None)
    failed = Job.objects.filter(status="failed")
    oldest = list(failed.order_by("created_at").values_list("pk", flat=True)[:members])
    few = Job.objects.filter(pk__in=oldest)
    print("| what | seconds, median | all turns | jobs a second |\n|---|---:|---:|---:|")
    for name, count, act in (
        (f"freeze {frozen:,}, one by one", frozen, lambda: _freeze(one_by_one, failed)),
        (f"freeze and plan {frozen:,}", frozen, lambda: _freeze(kind_of("requeue"), failed)),
        (f"answer of a preview of {frozen:,}", frozen, lambda: _answer(kind_of("requeue"), failed)),
        (f"freeze {frozen:,} in the cluster", frozen, lambda: _freeze_in_cluster(kind_of("requeue"), failed)),
        (f"freeze and plan {members:,}", members, lambda: _freeze(kind_of("requeue"), few)),
        (f"requeue {members:,}, chunks", members, lambda: _in_chunks(kind_of("requeue"), few)),
        (f"requeue {members:,}, one by one", members, lambda: _one_by_one(oldest)),
    ):
        if not any(part in name for part in os.environ.get("BENCH_BULK_PARTS", "").split(",")):
            continue
        seconds = [_timed(act) for _ in range(repeats)]
        middle = statistics.median(seconds)
        spread = ", ".join(f"{each:.2f}" for each in seconds)
        print(f"| {name} | {middle:.2f} | {spread} | {count / middle:,.0f} |")


def _timed(act: Callable[[], Callable[[], Any]]) -> float:
    """Measure the callable that ``act`` returns, without its preparation."""
    from jobs.models import Job  # noqa: PLC0415

    measured = act()
    began = time.perf_counter()
    measured()
    took = time.perf_counter() - began
    Job.objects.filter(status="pending").update(status="failed")
    return took


def _freeze(kind: Any, chosen: Any) -> Callable[[], Any]:
    from jobs.bulk import freezing  # noqa: PLC0415
    from jobs.runs.timeline import CONSOLE  # noqa: PLC0415

    return lambda: freezing.freeze(kind, chosen, CONSOLE, scope="bench")


def _answer(kind: Any, chosen: Any) -> Callable[[], Any]:
    from jobs.bulk import background_freezing  # noqa: PLC0415
    from jobs.runs.timeline import CONSOLE  # noqa: PLC0415

    return lambda: background_freezing.prepare(kind, chosen, CONSOLE, scope="bench")


def _freeze_in_cluster(kind: Any, chosen: Any) -> Callable[[], Any]:
    from jobs.bulk import chunks as runner  # noqa: PLC0415
    from jobs.models import BulkOperation  # noqa: PLC0415

    # Those whose answer was measured are not frozen.
    BulkOperation.objects.filter(state=BulkOperation.State.FREEZING).delete()
    operation = _answer(kind, chosen)()

    def work() -> None:
        while BulkOperation.objects.get(pk=operation.pk).state == BulkOperation.State.FREEZING:
            runner.run()
        assert BulkOperation.objects.get(pk=operation.pk).total == chosen.count()

    return work


def _in_chunks(kind: Any, chosen: Any) -> Callable[[], Any]:
    from jobs.bulk import chunks as runner  # noqa: PLC0415
    from jobs.bulk import decisions  # noqa: PLC0415
    from jobs.models import BulkOperation  # noqa: PLC0415
    from jobs.runs.timeline import CONSOLE  # noqa: PLC0415

    operation = _freeze(kind, chosen)()
    decisions.begin(operation, CONSOLE, "bench", typed=str(operation.will))

    def work() -> None:
        while BulkOperation.objects.get(pk=operation.pk).state == BulkOperation.State.RUNNING:
            runner.run()

    return work


def _one_by_one(ids: Any) -> Callable[[], Any]:
    from jobs.operations import job_operations  # noqa: PLC0415
    from jobs.operations.steps import JobAction  # noqa: PLC0415
    from jobs.runs.timeline import CONSOLE  # noqa: PLC0415

    steps = job_operations.plan(JobAction.REQUEUE, ids)
    return lambda: [job_operations.carry_out([step], CONSOLE, "bench") for step in steps]


if __name__ == "__main__":
    main()
