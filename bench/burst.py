"""``make bench-burst``: a burst of jobs by one INSERT ... SELECT, sent by two dispatchers while pages are read and sweeps run.

Two dispatchers send in processes of their own, against the stub that answers after 8 ms. One more process asks for
pages, and one sweeps, without a pause: first with nothing else to do, then while two bare boto3 senders send messages, which
tells what any sender does to them on these cores, then while the burst is sent. In the table, 100 runs are stale again and
again. Environment: BENCH_MESSAGES (50000), BENCH_QUIET_SECONDS (10).
"""

from __future__ import annotations

import logging
import os
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from statistics import median, quantiles
from typing import Any, TypeAlias

import django

from bench import bare_boto, sending
from bench.cluster import running
from bench.recovery import QUEUE_URL, set_up_django
from bench.stub_sqs import SECONDS_A_CALL, StubSqs

# Seconds by what was done.
Took: TypeAlias = dict[str, list[float]]
DISPATCHERS = 2
# Bare senders are faster: with this many times the messages, as many pages are read beside them.
AS_LONG = 3
PAGES = ("index", "jobs_job_changelist", "jobs_outbox_changelist", "jobs_deadletter_changelist")
STALE = """
INSERT INTO jobs (customer_id, package_size, status, claimed_epoch, worker_id, started_at, updated_at)
SELECT 'CUST-' || n, 50, 'in_progress', 1, 'dead-' || n, now() - interval '1 hour', now() - interval '1 hour'
  FROM generate_series(1, 100) AS n
"""


def main() -> None:
    count = int(os.environ.get("BENCH_MESSAGES", "50000"))
    quiet_seconds = float(os.environ.get("BENCH_QUIET_SECONDS", "10"))
    os.environ["OPSCONSOLE_ALLOWED_HOSTS"] = "testserver"
    with running() as cluster:
        cluster.create("ours")
        set_up_django(cluster)
        from django.core.management import call_command  # noqa: PLC0415

        call_command("migrate", verbosity=0)
        context = get_context("spawn")
        over = context.Event()
        with context.Pool(DISPATCHERS + 2, initializer=_set_up, initargs=(over,)) as pool:
            # Every process opens its connection and loads what it needs.
            pool.starmap(_warm_up, [()] * 4 * (DISPATCHERS + 2), chunksize=1)
            quiet = _beside(pool, over, lambda: time.sleep(quiet_seconds))
            inserted = _insert(count)
            each = [AS_LONG * count // DISPATCHERS] * DISPATCHERS
            beside_bare = _beside(pool, over, lambda: pool.map(_send_bare, each, chunksize=1))
            sent: list[tuple[int, float, float]] = []
            busy = _beside(
                pool, over, lambda: sent.extend(pool.map(_dispatch, [count] * DISPATCHERS, chunksize=1))
            )
    assert sum(number for number, _, _ in sent) >= count, sent
    seconds = max(ended for _, _, ended in sent) - min(began for _, began, _ in sent)
    print(
        f"{count:,} jobs inserted in {inserted:.1f} s, sent by {DISPATCHERS} dispatchers in {seconds:.1f} s: ",
        end="",
    )
    print(f"{count / seconds:,.0f} a second, {count / seconds / DISPATCHERS:,.0f} per dispatcher.")
    print(f"SQS answers after {SECONDS_A_CALL * 1000:.0f} ms.\n")
    print("| what, in ms | before: median | 95 of 100 | beside two bare boto3: median | 95 of 100 ", end="")
    print("| while it is sent: median | 95 of 100 | of beside boto3: median | 95 of 100 | times |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    print(
        "\n".join(_line(what, quiet[what], beside_bare.get(what, []), busy.get(what, [])) for what in quiet)
    )


def _line(what: str, before: list[float], beside_bare: list[float], during: list[float]) -> str:
    figures = [_in_ms(taken, of) for taken in (before, beside_bare, during) for of in (median, _p95)]
    ratios = [
        f"{of(during) / of(beside_bare):.2f}" if during and beside_bare else "" for of in (median, _p95)
    ]
    return f"| {what} | {' | '.join([*figures, *ratios])} | {len(during)} |"


def _in_ms(taken: list[float], of: Callable[[list[float]], float]) -> str:
    return f"{of(taken) * 1000:.0f}" if taken else "none ended"


def _p95(taken: list[float]) -> float:
    return quantiles(taken, n=20, method="inclusive")[-1] if len(taken) > 1 else taken[0]


def _beside(pool: Any, over: Event, work: Any) -> Took:
    """Read pages and sweep while ``work`` is done; return how long each page and sweep took."""
    over.clear()
    readings = [pool.apply_async(_read_pages), pool.apply_async(_sweep)]
    with ThreadPoolExecutor(1) as thread:
        thread.submit(work).result()
    over.set()
    took: Took = {}
    for reading in readings:
        took |= reading.get()
    return took


def _insert(count: int) -> float:
    from django.db import connection  # noqa: PLC0415

    began = time.perf_counter()
    with connection.cursor() as cursor:
        cursor.execute(sending.FILL.format(count=count))
    return time.perf_counter() - began


_over: Any = None
_stub: StubSqs | None = None


def _set_up(over: Event) -> None:
    global _over  # noqa: PLW0603 - this process's
    django.setup()
    logging.disable(logging.WARNING)
    _over = over


def _warm_up() -> None:
    from django.db import connection  # noqa: PLC0415
    from django.urls import reverse  # noqa: PLC0415

    reverse("admin:index")
    connection.ensure_connection()
    time.sleep(0.2)


def _stubbed() -> StubSqs:
    """Return the stub of this process, with nothing sent yet."""
    global _stub  # noqa: PLW0603 - this process's
    _stub = _stub or StubSqs(QUEUE_URL)
    _stub.forget()
    return _stub


def _send_bare(count: int) -> None:
    _stubbed()
    bare_boto.send_all([sending.body() for _ in range(count)], QUEUE_URL)


def _dispatch(count: int) -> tuple[int, float, float]:
    from jobs.messaging.dispatcher import dispatch  # noqa: PLC0415

    stub = _stubbed()
    # The clock of all processes.
    began = time.clock_gettime(time.CLOCK_MONOTONIC)
    dispatch(limit=count)
    return len(stub.job_ids), began, time.clock_gettime(time.CLOCK_MONOTONIC)


def _read_pages() -> Took:
    from django.contrib.auth.models import User  # noqa: PLC0415
    from django.test import Client, override_settings  # noqa: PLC0415
    from django.urls import reverse  # noqa: PLC0415

    plain = {"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
    user, _ = User.objects.get_or_create(username="bench", is_superuser=True, is_staff=True, is_active=True)
    client, took = Client(), defaultdict[str, list[float]](list)
    client.force_login(user)
    with override_settings(STORAGES=plain):
        for page in PAGES:
            client.get(reverse(f"admin:{page}"), secure=True)
        while not _over.is_set():
            for page in PAGES:
                began = time.perf_counter()
                response = client.get(reverse(f"admin:{page}"), secure=True)
                assert response.status_code == 200, (page, response.status_code)
                took[f"page: {page}"].append(time.perf_counter() - began)
    return dict(took)


def _sweep() -> Took:
    from django.db import connection  # noqa: PLC0415

    from jobs.recovery import sweeps  # noqa: PLC0415

    took: list[float] = []
    sweeps.sweep("bench")
    while not _over.is_set():
        with connection.cursor() as cursor:
            cursor.execute(STALE)
        began = time.perf_counter()
        sweeps.sweep("bench")
        took.append(time.perf_counter() - began)
    return {"a sweep that finds 100 stale runs": took}


if __name__ == "__main__":
    main()
