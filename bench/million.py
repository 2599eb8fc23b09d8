"""``make bench-million``: a million failed jobs, frozen and requeued by the cluster, with a runner that is killed half way.

The runner is a process of its own. Meanwhile the page of the operation is asked for every two seconds, by a user who may see
everything. Linux only. Environment: BENCH_BULK_MEMBERS (1000000), BENCH_BULK_ACTION (requeue).
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import django

from bench.bulk import FILL
from bench.cluster import running
from bench.recovery import set_up_django

LOOK_SECONDS = 2.0
PAGE_BYTES = resource.getpagesize()
# Once per action, every job has this many rows of the outbox, and this event.
EVENTS = {"requeue": ("requeued", 1), "cancel": ("cancelled", 0)}


@dataclass
class Seen:
    """What was measured while the operation ran: when how many members were settled, pages in ms, the runner's memory in MiB."""

    settled: list[tuple[float, int]] = field(default_factory=list)
    pages: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    idle_after_kill: float = 0.0


def main() -> None:
    members = int(os.environ.get("BENCH_BULK_MEMBERS", "1000000"))
    action = os.environ.get("BENCH_BULK_ACTION", "requeue")
    os.environ |= {"OPSCONSOLE_ALLOWED_HOSTS": "testserver", "OPSCONSOLE_BULK_PACE": "10000"}
    os.environ |= {"OPSCONSOLE_BULK_MOST": "1000000", "OPSCONSOLE_BULK_TRIAL_SIZE": "0"}
    with running() as cluster:
        cluster.create("ours")
        set_up_django(cluster)
        from django.core.management import call_command  # noqa: PLC0415
        from django.db import connection  # noqa: PLC0415
        from django.test import override_settings  # noqa: PLC0415

        call_command("migrate", verbosity=0)
        with connection.cursor() as cursor:
            cursor.execute(FILL, {"rows": members, "failed": members})
            cursor.execute("VACUUM ANALYZE jobs")
        # collectstatic has not run here, so the page links the static files by their plain names.
        plain = {"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
        with override_settings(STORAGES=plain):
            print(_measure(members, action))


def _measure(members: int, action: str) -> str:
    from jobs.bulk import background_freezing, decisions  # noqa: PLC0415
    from jobs.bulk.registry import kind_of  # noqa: PLC0415
    from jobs.models import BulkOperation, Job  # noqa: PLC0415
    from jobs.runs.timeline import CONSOLE  # noqa: PLC0415

    operation = background_freezing.prepare(kind_of(action), Job.objects.all(), CONSOLE, scope="bench")
    frozen = _timed(lambda: _freeze(operation.pk))
    operation = BulkOperation.objects.get(pk=operation.pk)
    assert (operation.state, operation.will) == (BulkOperation.State.PREVIEW, members)
    begun = _timed(lambda: decisions.begin(operation, CONSOLE, "bench", typed=str(members)))
    seen = Seen()
    took = _timed(lambda: _carry_out(operation.pk, members, seen))
    after = [_page(operation.pk) for _ in range(20)]
    _check(operation.pk, members, action)
    tenth = members // 10
    rows = [
        ("frozen by the cluster", f"{frozen:.1f} s, {members / frozen:,.0f} a second"),
        ("confirmed", f"{begun * 1000:.0f} ms"),
        ("carried out, with the killed runner", f"{took:.1f} s, {members / took:,.0f} a second"),
        ("its second tenth", f"{_rate(seen, tenth, 2 * tenth):,.0f} a second"),
        ("its last tenth", f"{_rate(seen, 9 * tenth, members):,.0f} a second"),
        ("the next runner went on after", f"{seen.idle_after_kill:.0f} s"),
        (
            "memory of the runner, from its first look to its most",
            f"{seen.memory[0]:.0f} to {max(seen.memory):.0f} MiB",
        ),
        ("the operation's page meanwhile", _milliseconds(seen.pages)),
        ("the operation's page at the end", _milliseconds(after)),
    ]
    lines = [f"| {what} | {figure} |" for what, figure in rows]
    return "\n".join([f"{members:,} jobs, {action}\n", "| what | measured |", "|---|---|", *lines])


def _timed(act: Callable[[], Any]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def _milliseconds(took: list[float]) -> str:
    return f"p50 {median(took):.0f} ms, p95 {quantiles(took, n=20)[-1]:.0f} ms, of {len(took)}"


def _rate(seen: Seen, least: int, most: int) -> float:
    between = [(at, settled) for at, settled in seen.settled if least <= settled <= most]
    (begin, first), (end, last) = between[0], between[-1]
    return (last - first) / (end - begin) if end > begin else 0.0


def _freeze(pk: int) -> None:
    from jobs.bulk import chunks  # noqa: PLC0415
    from jobs.models import BulkOperation  # noqa: PLC0415

    while BulkOperation.objects.get(pk=pk).state == BulkOperation.State.FREEZING:
        chunks.run()


def _carry_out(pk: int, members: int, seen: Seen) -> None:
    """Let a runner work, kill it half way, and let another one go on, until nothing is left."""
    from jobs.models import BulkOperation  # noqa: PLC0415

    runner, killed, stood_still = _runner(pk), False, 0.0
    began = time.perf_counter()
    while (now := BulkOperation.objects.get(pk=pk)).state == BulkOperation.State.RUNNING:
        at = time.perf_counter() - began
        if killed and not seen.idle_after_kill and now.settled > stood_still:
            seen.idle_after_kill = at - seen.settled[-1][0] + _still_for(seen)
        seen.settled.append((at, now.settled))
        seen.pages.append(_page(pk))
        seen.memory.append(_resident_mib(runner))
        if not killed and now.settled >= members // 2:
            assert runner.pid
            os.kill(runner.pid, signal.SIGKILL)
            runner.join()
            killed, stood_still = True, BulkOperation.objects.get(pk=pk).settled
            runner = _runner(pk)
        assert runner.is_alive() or runner.exitcode == 0, "The runner failed."
        time.sleep(LOOK_SECONDS)
    runner.join()


def _still_for(seen: Seen) -> float:
    """Return for how long the number of settled members has been what it is."""
    last_at, last = seen.settled[-1]
    return last_at - min(at for at, settled in seen.settled if settled == last)


def _runner(pk: int) -> BaseProcess:
    runner = multiprocessing.get_context("spawn").Process(target=_run, args=(pk,))
    runner.start()
    return runner


def _run(pk: int) -> None:
    django.setup()
    logging.disable(logging.WARNING)
    from jobs.bulk import chunks  # noqa: PLC0415
    from jobs.models import BulkOperation  # noqa: PLC0415

    while BulkOperation.objects.get(pk=pk).state == BulkOperation.State.RUNNING:
        if not chunks.run():
            time.sleep(0.5)


def _resident_mib(runner: BaseProcess) -> float:
    try:
        return int(Path(f"/proc/{runner.pid}/statm").read_text().split()[1]) * PAGE_BYTES / 2**20
    except FileNotFoundError:
        return 0.0


_client: Any = None


def _page(pk: int) -> float:
    global _client  # noqa: PLW0603 - signed in once
    from django.contrib.auth.models import User  # noqa: PLC0415
    from django.test import Client  # noqa: PLC0415
    from django.urls import reverse  # noqa: PLC0415

    if _client is None:
        _client = Client()
        _client.force_login(User.objects.create_superuser("bench"))
        _page(pk)
    began = time.perf_counter()
    response = _client.get(reverse("admin:jobs_bulkoperation_change", args=[pk]), secure=True)
    took = (time.perf_counter() - began) * 1000
    assert response.status_code == 200, response.status_code
    return took


def _check(pk: int, members: int, action: str) -> None:
    """Every job was changed exactly once."""
    from django.db import connection  # noqa: PLC0415

    from jobs.models import BulkOperation  # noqa: PLC0415

    kind, messages = EVENTS[action]
    operation = BulkOperation.objects.get(pk=pk)
    assert (operation.state, operation.done) == (BulkOperation.State.ENDED, members), operation.state
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), count(DISTINCT job_id), (SELECT count(*) FROM outbox) FROM job_events WHERE kind = %s",
            [kind],
        )
        assert cursor.fetchone() == (members, members, messages * members)


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    main()
