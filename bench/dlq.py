"""``make bench-dlq``: scan and replay of many dead letters, and the list page, on a real PostgreSQL.

SQS is a stub behind boto3, with a latency per call, so that the console and its client are measured. Memory is
the growth of the process's resident size during each part, sampled while it runs; the stub's queues exist before.
Linux only. Environment: BENCH_LETTERS (10000).
"""

from __future__ import annotations

import gc
import logging
import os
import platform
import resource
import sys
import time
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median, quantiles
from threading import Event, Thread
from typing import Any

import django

from bench import bare_boto
from bench.cluster import running
from bench.recovery import QUEUE_URL, set_up_django
from bench.stub_sqs import SECONDS_A_CALL, StubQueues

DLQ_URL = f"{QUEUE_URL}-dlq"
BARE_URL = f"{QUEUE_URL}-bare"
# The list of letters, beside other pages of the same process.
PAGES = {
    "list of dead letters": "jobs_deadletter_changelist",
    "failure groups": "jobs_failuregroup_changelist",
    "bulk operations (none)": "jobs_bulkoperation_changelist",
    "overview": "index",
}
TIMES = 60
SAMPLE_SECONDS = 0.02
BODY_BYTES = 1_000


@dataclass(frozen=True)
class Timed:
    seconds: float
    processor_seconds: float
    peak_mib: float


def main() -> None:
    count = int(os.environ.get("BENCH_LETTERS", "10000"))
    os.environ["SQS_DLQ_URL"] = DLQ_URL
    os.environ["OPSCONSOLE_ALLOWED_HOSTS"] = "testserver"
    with running() as cluster:
        cluster.create("ours")
        set_up_django(cluster)
        from django.core.management import call_command  # noqa: PLC0415

        call_command("migrate", verbosity=0)
        print(_measure(count))


def _measure(count: int) -> str:
    from django.db import connection  # noqa: PLC0415
    from django.urls import reverse  # noqa: PLC0415

    from jobs.dead_letters import fulfilment, operations, origins  # noqa: PLC0415
    from jobs.dead_letters.queue_visit import visit  # noqa: PLC0415
    from jobs.dead_letters.scan import Budget  # noqa: PLC0415
    from jobs.letter_ledger.entries import LetterAction  # noqa: PLC0415
    from jobs.models import DeadLetter  # noqa: PLC0415
    from jobs.runs.timeline import Actor  # noqa: PLC0415

    # The first link to a page loads them all. A cluster has done that long before.
    reverse("admin:jobs_deadletter_changelist")
    queues = _queues(count)
    budget = Budget(seconds=3_600, messages=count)
    [dlq] = origins.configured()
    scans = {}
    for number in (count // 10, count):
        scans[number] = _timed(lambda most=number: visit(dlq, Budget(seconds=3_600, messages=most)))
    assert DeadLetter.objects.count() == count
    ids = list(DeadLetter.objects.order_by("sent_at", "pk").values_list("pk", flat=True))
    # As autovacuum does within a minute of so many new rows.
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE dead_letters")
    # A separate process serves the pages, because a real one does not hold the stub's messages in memory.
    with get_context("spawn").Pool(1, initializer=_set_up_server) as server:
        pages = server.apply(_list_pages)

    def request() -> None:
        for start in range(0, count, 500):
            steps = operations.plan(LetterAction.REPLAY, ids[start : start + 500])
            operations.carry_out(steps, Actor.operator("bench", None), "a benchmark")

    requested = _timed(request)
    replayed = _timed(lambda: fulfilment.work(budget))
    assert DeadLetter.objects.filter(state=DeadLetter.State.REPLAYED).count() == count
    assert (queues.size(QUEUE_URL), queues.size(DLQ_URL)) == (count, 0)
    rows = [
        *_bare(queues, count),
        ("scan of a tenth, stored new", count // 10, scans[count // 10]),
        ("scan of all, nine tenths new", count, scans[count]),
        ("deciding: plan and ledger", count, requested),
        ("replay: hold, intent, send, record, delete, record", count, replayed),
    ]
    return _table(count, rows, pages)


def _bare(queues: StubQueues, count: int) -> list[tuple[str, int, Timed]]:
    """Measure what boto3 alone needs for the calls of a scan and of a replay."""
    looked = _timed(lambda: bare_boto.receive_and_return(BARE_URL, count))
    moved = _timed(lambda: bare_boto.receive_send_and_delete(BARE_URL, f"{BARE_URL}-sent", count))
    assert queues.size(f"{BARE_URL}-sent") == count
    return [
        ("boto3 alone: receive and return", count, looked),
        ("boto3 alone: receive, send and delete", count, moved),
    ]


def _queues(count: int) -> StubQueues:
    queues = StubQueues(QUEUE_URL, DLQ_URL, BARE_URL, f"{BARE_URL}-sent")
    note = "x" * BODY_BYTES
    for url in (DLQ_URL, BARE_URL):
        queues.put(url, (f'{{"order": {number}, "note": "{note}"}}' for number in range(count)))
    return queues


def _timed(do: Any) -> Timed:
    gc.collect()
    before, sizes, ended = _resident_mib(), [0.0], Event()

    def sample() -> None:
        while not ended.wait(SAMPLE_SECONDS):
            sizes.append(_resident_mib())

    sampler = Thread(target=sample)
    sampler.start()
    began, spent_before = time.perf_counter(), time.process_time()
    try:
        do()
        seconds, spent = time.perf_counter() - began, time.process_time() - spent_before
        print(f"{seconds:.1f} s", file=sys.stderr)
    finally:
        ended.set()
        sampler.join()
    return Timed(seconds, spent, max(0.0, max(sizes) - before))


def _resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def _set_up_server() -> None:
    django.setup()
    logging.disable(logging.WARNING)


def _list_pages() -> dict[str, list[float]]:
    from django.contrib.auth.models import User  # noqa: PLC0415
    from django.test import Client, override_settings  # noqa: PLC0415
    from django.urls import reverse  # noqa: PLC0415

    # collectstatic has not run here, so the page links the static files by their plain names.
    plain = {"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
    client = Client()
    client.force_login(User.objects.create_superuser("bench"))
    took: dict[str, list[float]] = {name: [] for name in PAGES}
    # Override the setting only once, because each change clears Django's caches.
    with override_settings(STORAGES=plain):
        for _ in range(TIMES + 1):
            for name, page in PAGES.items():
                began = time.perf_counter()
                response = client.get(reverse(f"admin:{page}"), secure=True)
                assert response.status_code == 200, response.status_code
                took[name].append((time.perf_counter() - began) * 1000)
    return {name: times[1:] for name, times in took.items()}


def _table(count: int, rows: list[tuple[str, int, Timed]], pages: dict[str, list[float]]) -> str:
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    lines = [
        f"{count:,} dead letters of {BODY_BYTES:,} bytes; SQS answers after {SECONDS_A_CALL * 1000:.0f} ms.",
        f"Python {platform.python_version()}; largest resident size {rss:.0f} MiB, the stub's queues included.",
        "",
        "| what | letters | seconds | letters a second | processor, ms a letter | memory above the start, MiB |",
        "|---|---:|---:|---:|---:|---:|",
        *(
            f"| {what} | {letters:,} | {timed.seconds:.1f} | {letters / timed.seconds:,.0f} "
            f"| {timed.processor_seconds / letters * 1000:.2f} | {timed.peak_mib:.1f} |"
            for what, letters, timed in rows
        ),
        "",
        f"| page, {TIMES} times in turn | p50, ms | p95, ms |",
        "|---|---:|---:|",
        *(
            f"| {name} | {median(took):.0f} | {quantiles(took, n=20)[-1]:.0f} |"
            for name, took in pages.items()
        ),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    main()
