"""``make bench-sending``: one and two dispatchers that send a burst, beside as many bare boto3 batch senders.

Each runs in a process of its own, against the stub that answers after 8 ms, with its heap frozen and its log written as where it is
installed, and once more without its lines. The jobs and their rows in the outbox are
inserted by one INSERT ... SELECT each. Senders and dispatchers take turns. Environment: BENCH_MESSAGES (50000),
BENCH_REPEATS (3).
"""

from __future__ import annotations

import gc
import json
import logging
import os
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

import django

from bench import bare_boto
from bench.cluster import running
from bench.recovery import QUEUE_URL, set_up_django
from bench.stub_sqs import SECONDS_A_CALL, StubSqs

FILL = """
WITH burst AS (
    INSERT INTO jobs (customer_id, package_size, status)
    SELECT 'CUST-' || n % 5000, 50, 'pending' FROM generate_series(1, {count}) AS n
    RETURNING id, run_epoch
)
INSERT INTO outbox (job_id, run_epoch, queue, destination, reason, retry)
SELECT id, run_epoch, 'default', 'queue', '', false FROM burst
"""


def main() -> None:
    count = int(os.environ.get("BENCH_MESSAGES", "50000"))
    repeats = int(os.environ.get("BENCH_REPEATS", "3"))
    with running() as cluster:
        cluster.create("ours")
        set_up_django(cluster)
        from django.core.management import call_command  # noqa: PLC0415

        call_command("migrate", verbosity=0)
        lines = [line for processes in (1, 2) for line in _measure(count, processes, repeats)]
    print(
        f"{count:,} messages; SQS answers after {SECONDS_A_CALL * 1000:.0f} ms; median of {repeats} turns (all turns)"
    )
    print("\n| what | processes | seconds | messages a second | per process | against boto3 |")
    print("|---|---:|---:|---:|---:|---:|")
    print("\n".join(lines))


def _measure(count: int, processes: int, repeats: int) -> list[str]:
    bare: list[float] = []
    ours: dict[Callable[[int], int], list[float]] = {_dispatch: [], _dispatch_without_log: []}
    for _ in range(repeats):
        bare.append(_together(processes, _send_bare, count // processes))
        for work, seconds in ours.items():
            _fill(count)
            seconds.append(_together(processes, work, count))
    return [
        _line("boto3 alone, ten per call, eight threads", processes, bare, count, 1.0),
        *(
            _line(what, processes, seconds, count, median(seconds) / median(bare))
            for what, seconds in zip(
                ("dispatcher", "dispatcher, without its log"),
                ours.values(),
                strict=True,
            )
        ),
    ]


def _line(what: str, processes: int, seconds: list[float], count: int, ratio: float) -> str:
    middle = median(seconds)
    each = ", ".join(f"{one:.1f}" for one in seconds)
    rate = count / middle
    return f"| {what} | {processes} | {middle:.1f} ({each}) | {rate:,.0f} | {rate / processes:,.0f} | {ratio:.2f} times |"


def _fill(count: int) -> None:
    from django.db import connection  # noqa: PLC0415

    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE outbox")
        cursor.execute("DELETE FROM jobs")
        cursor.execute(FILL.format(count=count))
        cursor.execute("VACUUM ANALYZE jobs, outbox")
    connection.close()


def _together(processes: int, work: Callable[[int], int], count: int) -> float:
    """Let these processes work at once; return the seconds from the first start to the last end."""
    context = get_context("spawn")
    barrier = context.Barrier(processes)
    with context.Pool(processes, initializer=_set_up, initargs=(barrier,)) as pool:
        results = pool.starmap(_timed, [(work, count)] * processes, chunksize=1)
    expected = count * processes if work is _send_bare else count
    assert sum(sent for sent, _, _ in results) == expected, results
    return max(ended for _, _, ended in results) - min(began for _, began, _ in results)


_barrier: Any = None


def _set_up(barrier: Barrier) -> None:
    global _barrier  # noqa: PLW0603 - this process's
    django.setup()
    _log_to_nowhere()
    # As run_cluster does before it starts a dispatcher.
    gc.collect()
    gc.freeze()
    _barrier = barrier


def _log_to_nowhere() -> None:
    """Make every line of the log, as an installed dispatcher does, and write it where nobody reads it."""
    for handler in logging.getLogger().handlers:
        assert isinstance(handler, logging.StreamHandler), handler
        handler.setStream(Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - open as long as the process


def _timed(work: Callable[[int], int], count: int) -> tuple[int, float, float]:
    stub = StubSqs(QUEUE_URL)
    _warm_up()
    stub.forget()
    _barrier.wait(60)
    # The clock of all processes.
    began = time.clock_gettime(time.CLOCK_MONOTONIC)
    work(count)
    return len(stub.job_ids), began, time.clock_gettime(time.CLOCK_MONOTONIC)


def _warm_up() -> None:
    from django.db import connection  # noqa: PLC0415

    from jobs.messaging import leases  # noqa: PLC0415

    connection.ensure_connection()
    # An installed dispatcher has looked each second: its session knows the tables.
    leases.take(0)
    bare_boto.send([body()], QUEUE_URL)


def _send_bare(count: int) -> int:
    bare_boto.send_all([body() for _ in range(count)], QUEUE_URL)
    return count


def body() -> str:
    return json.dumps(
        {
            "job_id": str(uuid4()),
            "customer_id": "CUST-1",
            "package_size": 50,
            "priority": "starter",
            "retry": False,
            "reason": None,
            "run_epoch": 1,
        }
    )


def _dispatch(count: int) -> int:
    from jobs.messaging.dispatcher import dispatch  # noqa: PLC0415

    return dispatch(limit=count).sent


def _dispatch_without_log(count: int) -> int:
    logging.disable(logging.INFO)
    return _dispatch(count)


if __name__ == "__main__":
    main()
