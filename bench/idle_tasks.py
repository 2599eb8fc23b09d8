"""``make bench-idle``: what the recurring work of an idle console takes, each part measured on a new database and new queues.

An idle console has jobs that ended, a timeline with its seals, live workers, and nothing that is stale, stuck or told. Each task
runs several times in one warm process. Processor time is that of this process and of its session's server process; per minute,
a task that runs every ten minutes counts a tenth. Environment: BENCH_TURNS (10).
"""

from __future__ import annotations

import logging
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import django
from django.utils.module_loading import import_string

TURNS = int(os.environ.get("BENCH_TURNS", "10"))
ROUNDS, JOBS_PER_ROUND = 8, 25
# Beside the tasks, two loops take a turn each second.
LOOPS = {
    ("loop: sender of alerts, one channel", "alerts.sending.delivery.deliver"): 60.0,
    ("loop: dispatcher", "jobs.messaging.dispatcher.dispatch"): 60.0,
}


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with ExitStack() as started, tempfile.TemporaryDirectory(prefix="opsconsole-bench-") as folder:
        _set_up(started, Path(folder))
        _fill()
        print("\n".join(_table()))


def _set_up(started: ExitStack, folder: Path) -> None:
    from opsconsole.demo import services  # noqa: PLC0415  # with the settings of this process

    named = services.start(folder, started)
    services.make_queues(named["AWS_ENDPOINT_URL"])
    os.environ |= {
        **named,
        "DJANGO_SETTINGS_MODULE": "opsconsole.settings",
        "OPSCONSOLE_ENV": "production",
        "OPSCONSOLE_ALLOWED_HOSTS": "127.0.0.1",
        "OPSCONSOLE_SECRET_KEY": "bench" * 20,
        "OPSCONSOLE_VAR_DIR": str(folder / "var"),
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_DEFAULT_REGION": "us-east-1",
        # A channel that nothing is sent to, because no alert fires.
        "SLACK_WEBHOOK_URL": "https://slack.invalid/services/T0/B0/bench",
    }
    django.setup()
    logging.disable(logging.WARNING)


def _fill() -> None:
    """Let some jobs run to their end, in rounds that are sealed each."""
    from django.core.management import call_command  # noqa: PLC0415  # these import models

    from jobs.intake.enqueue import NewJob, enqueue_many  # noqa: PLC0415
    from jobs.messaging.dispatcher import dispatch  # noqa: PLC0415
    from jobs.models import Job  # noqa: PLC0415
    from opsconsole.seals import sealer  # noqa: PLC0415
    from opsconsole_worker.runs import heartbeats, lifecycle  # noqa: PLC0415
    from opsconsole_worker.runs.heartbeats import Worker  # noqa: PLC0415
    from opsconsole_worker.runs.lifecycle import Run  # noqa: PLC0415

    call_command("migrate", verbosity=0)
    call_command("sync_schedules", verbosity=0, stdout=sys.stderr)
    worker = Worker("bench-worker", hostname="bench", pid=1, start="1")
    for _ in range(ROUNDS):
        enqueue_many([NewJob(customer_id="bench", package_size=50) for _ in range(JOBS_PER_ROUND)])
        dispatch()
        for pk in Job.objects.filter(status="pending").values_list("pk", flat=True):
            lifecycle.claim(pk, 1, worker)
            heartbeats.beat(worker, pk, 1)
            lifecycle.complete(Run(pk, 1, worker))
        sealer.seal()


def _table() -> list[str]:
    from bench import processor_time  # noqa: PLC0415  # imports the connection
    from opsconsole.cluster import task_table  # noqa: PLC0415

    per_minute = {(entry.name, entry.task): 1 / entry.minutes for entry in task_table.table()} | LOOPS
    rows = [(_measured(work), name, times) for (name, work), times in per_minute.items()]
    rows.sort(key=lambda row: -row[0][1] * row[2])
    lines = [
        f"Python {platform.python_version()}, {TURNS} turns each, {processor_time.load()}.\n",
        "| work | times per minute | statements | ms, own | ms, server | own ms per minute |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for (statements, own, server), name, times in rows:
        told = "" if server is None else f"{server:.1f}"
        lines.append(f"| {name} | {times:.2g} | {statements:g} | {own:.1f} | {told} | {own * times:.1f} |")
    asked = sum(statements * times for (statements, _, _), _, times in rows)
    spent = sum(own * times for (_, own, _), _, times in rows)
    lines.append(f"| **all, per minute** | | {asked:.0f} | | | **{spent:.0f}** |")
    return lines


def _measured(task: str) -> tuple[float, float, float | None]:
    """Return statements, and the milliseconds of this process and of the server, per turn."""
    from django.db import connection  # noqa: PLC0415

    from bench.processor_time import Spent, counted  # noqa: PLC0415

    work: Callable[[], Any] = import_string(task)
    # Two turns load, prepare and cache.
    work()
    work()
    statements = 0

    def count(execute: Callable[..., Any], *call: Any) -> Any:
        nonlocal statements
        statements += 1
        return execute(*call)

    spent = Spent()
    with connection.execute_wrapper(count):
        for _ in range(TURNS):
            with counted(spent):
                work()
    return statements / TURNS, spent.own_per_turn, spent.server_per_turn


if __name__ == "__main__":
    main()
