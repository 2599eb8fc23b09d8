"""``make bench-growth``: what takes longer while the tables grow: every page, the sweep, each scheduled task.

Each piece of work is measured at every size, in the same process and on the same server: its time, the median of several turns,
and the buffers of the statements that it issues, as the server reports them. What is flat takes at most 1.2 times as long with
ten or thirty million jobs as with one. A size for which the disk has no room is left out, and named. Environment:
GROWTH_MILLIONS (1,10,30), BENCH_TIMES (9), BENCH_MEMORY (1GB).
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.cluster import running
from bench.growth_report import Measured, Size, report
from bench.pages import set_up_django
from opsconsole import embedded

WARM_UP = 2
MILLION = 1_000_000
# Measured: a million jobs with all their indexes, events, messages and lines of the audit, and what is written while indexes are
# built.
GIB_PER_MILLION, KEPT_FREE_GIB = 1.3, 10


def main() -> None:
    asked = sorted(
        int(float(word) * MILLION) for word in os.environ.get("GROWTH_MILLIONS", "1,10,30").split(",")
    )
    times = int(os.environ.get("BENCH_TIMES", "9"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # On SIGTERM, exit normally, so that the server is stopped and its folder removed.
    sizes = [rows for rows in asked if _has_room(rows)]
    parameters = {"shared_buffers": os.environ.get("BENCH_MEMORY", "1GB"), "max_wal_size": "4GB"}
    parameters |= {"maintenance_work_mem": "512MB", "autovacuum": "off"}
    with (
        TemporaryDirectory(prefix="bench-") as folder,
        running(**parameters) as cluster,
        embedded.start_valkey(Path(folder)) as valkey,
    ):
        url = cluster.create("growth")
        os.environ |= {"OPSCONSOLE_PAGE_TIMEOUT_SECONDS": "0", "OPSCONSOLE_ALLOWED_HOSTS": "testserver"}
        set_up_django(url, valkey.url, "opsconsole.settings")
        print(measure(url, sizes, times, cluster.version))


def _has_room(rows: int) -> bool:
    room = shutil.disk_usage(tempfile.gettempdir()).free / 2**30 - KEPT_FREE_GIB
    needed = rows / MILLION * GIB_PER_MILLION
    if needed > room:
        print(
            f"{rows:,} jobs are left out: they need {needed:.0f} GiB, and the disk has {room:.0f} for them."
        )
    return needed <= room


def measure(url: str, sizes: list[int], times: int, postgresql: str) -> str:
    # These import models, which need the settings.
    from bench import growth_data, pages_asked  # noqa: PLC0415

    client = pages_asked.prepare()
    growth_data.begin(url, max(sizes))
    found, before = [], 0
    for rows in sizes:
        _say(f"growing to {rows:,} jobs")
        began = time.monotonic()
        growth_data.fill(url, before, rows)
        _say(f"measuring, after {time.monotonic() - began:.0f} s")
        found.append(Size(rows, _measure(client, url, times), growth_data.bytes_of(url)))
        before = rows
    return report(found, times, postgresql)


def _measure(client: Any, url: str, times: int) -> dict[str, Measured]:
    from bench import growth_asked, growth_data  # noqa: PLC0415
    from bench.plans import reported  # noqa: PLC0415

    growth_data.settle(url)
    operations = growth_asked.operations(client, url)
    measured = {name: Measured() for name in (growth_asked.FINDING, *operations)}
    # A server has none of the objects that migrations left in memory.
    gc.collect()
    gc.freeze()
    for number in range(WARM_UP + times):
        for name, operation in operations.items():
            growth_asked.prepare(name, url)
            began = time.perf_counter()
            operation()
            took = time.perf_counter() - began
            if number >= WARM_UP:
                measured[name].milliseconds.append(took * 1000)
            if name == growth_asked.SWEEP:
                _explain_finding(url, operation, measured[growth_asked.FINDING], kept=number >= WARM_UP)
    for name, operation in operations.items():
        growth_asked.prepare(name, url)
        with reported() as plans:
            operation()
        measured[name].statements, measured[name].buffers = len(plans.statements), plans.buffers
    return measured


def _explain_finding(url: str, sweep: Any, measured: Measured, *, kept: bool) -> None:
    from bench import growth_asked  # noqa: PLC0415
    from bench.plans import reported  # noqa: PLC0415

    growth_asked.prepare(growth_asked.SWEEP, url)
    with reported() as plans:
        sweep()
    page = growth_asked.finding(plans)
    if kept:
        measured.milliseconds.append(page.milliseconds)
        measured.statements, measured.buffers = 1, page.buffers


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
