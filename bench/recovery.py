"""``make bench-recovery``: how fast stale runs are found and recovered, beside the plain plan and other queues.

All in one run on one PostgreSQL with a new server's settings. Each candidate starts from a fresh copy of the same number
of rows. BENCH_ROWS (default 1000000) makes it smaller, BENCH_REPEATS (default 3) shorter.
"""

from __future__ import annotations

import asyncio
import os
import platform
from collections import defaultdict
from importlib.metadata import version
from statistics import median
from typing import TYPE_CHECKING, Any

from bench.cluster import Cluster, running
from bench.shape import Shape

if TYPE_CHECKING:
    from bench.stub_sqs import StubSqs

QUEUE_URL = "https://sqs.us-east-1.amazonaws.com/000000000000/bench"
GROWTH = 5


def main() -> None:
    shape = Shape(int(os.environ.get("BENCH_ROWS", "1000000")))
    repeats = int(os.environ.get("BENCH_REPEATS", "3"))
    with running() as cluster:
        _set_up_django(cluster)
        Benchmark(cluster, shape, repeats).run()


def _set_up_django(cluster: Cluster) -> None:
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "opsconsole.settings",
        "DATABASE_URL": cluster.url("ours"),
        "SQS_QUEUE_URL": QUEUE_URL,
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
    }
    import django

    django.setup()


if __name__ == "__main__":
    main()
