"""``make bench-recovery``: finding and recovering stale runs, beside the baseline and other job queues.

One run measures everything on one PostgreSQL with default settings except its memory, which follows the manual's
advice for 4 GB: a quarter. Each measurement starts with a fresh copy of equally many rows, right after a checkpoint.
Environment: BENCH_ROWS (1000000), BENCH_REPEATS (5), BENCH_LAYOUT (``newest`` or ``scattered``, see ``bench.shape``),
BENCH_MEMORY (1GB; the default is 128MB), BENCH_SERVERS (``own`` starts a new server for each candidate).
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from contextlib import ExitStack

import django

from bench.cluster import Cluster, running
from bench.shape import Shape

QUEUE_URL = "https://sqs.us-east-1.amazonaws.com/000000000000/bench"


def main() -> None:
    shape = Shape(int(os.environ.get("BENCH_ROWS", "1000000")), os.environ.get("BENCH_LAYOUT", "newest"))
    # On SIGTERM, exit normally, so that the server is stopped and its folder removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    memory = os.environ.get("BENCH_MEMORY", "1GB")
    with ExitStack() as started:
        ours = started.enter_context(running(shared_buffers=memory))
        set_up_django(ours)
        # These import models, which need the settings.
        from bench import report  # noqa: PLC0415
        from bench.measure import CANDIDATES, measure  # noqa: PLC0415

        clusters = dict.fromkeys(CANDIDATES, ours)
        if os.environ.get("BENCH_SERVERS") == "own":
            others = [name for name in CANDIDATES if name != "ours"]
            clusters |= {name: started.enter_context(running(shared_buffers=memory)) for name in others}
        results = measure(clusters, shape, int(os.environ.get("BENCH_REPEATS", "5")), QUEUE_URL)
        servers = "a server per candidate" if len(set(clusters.values())) > 1 else "one server for all"
        print(f"{servers}, shared_buffers {memory}.")
        print(report.table(shape, ours.version, results))


def set_up_django(cluster: Cluster, environment: str = "production") -> None:
    """Set up the console on this server, with a queue that sends nothing over a network."""
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "opsconsole.settings",
        "OPSCONSOLE_ENV": environment,
        "DATABASE_URL": cluster.url("ours"),
        "SQS_QUEUE_URL": QUEUE_URL,
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
    }
    django.setup()
    logging.disable(logging.WARNING)


if __name__ == "__main__":
    main()
