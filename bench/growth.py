"""``make bench-growth``: what takes longer while the tables grow: every page, the sweep, each scheduled task.

Each size has a database of its own on one server, filled first. Then one process does each piece of work in each of them in
turn, so that what else the machine does meets all sizes alike: its time is the median of several turns, its buffers are those
of the statements that it issues, as the server reports them. What is flat takes at most 1.2 times as long with
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
from typing import TYPE_CHECKING, Any

from bench.cluster import Cluster, running
from bench.growth_report import Measured, Size, report
from bench.pages import set_up_django
from opsconsole import embedded

if TYPE_CHECKING:
    from bench.growth_databases import Database

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
    # On SIGTERM, exit normally, so that the server is stopped and its folder removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sizes = [rows for number, rows in enumerate(asked) if _has_room(sum(asked[: number + 1]), rows)]
    parameters = {"shared_buffers": os.environ.get("BENCH_MEMORY", "1GB"), "max_wal_size": "4GB"}
    parameters |= {"maintenance_work_mem": "512MB", "autovacuum": "off"}
    with (
        TemporaryDirectory(prefix="bench-") as folder,
        running(**parameters) as cluster,
        embedded.start_valkey(Path(folder)) as valkey,
    ):
        begin(cluster.create(_name(sizes[0])), valkey.url)
        urls = fill(cluster, sizes)
        print(report(measure(urls, times), times, cluster.version))


def begin(url: str, valkey: str) -> None:
    """Set Django up for the first database."""
    os.environ |= {"OPSCONSOLE_PAGE_TIMEOUT_SECONDS": "0", "OPSCONSOLE_ALLOWED_HOSTS": "testserver"}
    set_up_django(url, valkey, "opsconsole.settings")


def _has_room(in_all: int, rows: int) -> bool:
    """Tell whether the disk has room for this size beside the smaller ones."""
    room = shutil.disk_usage(tempfile.gettempdir()).free / 2**30 - KEPT_FREE_GIB
    needed = in_all / MILLION * GIB_PER_MILLION
    if needed > room:
        print(
            f"{rows:,} jobs are left out: they and the smaller sizes need {needed:.0f} GiB, and the disk has {room:.0f}."
        )
    return needed <= room


def _name(rows: int) -> str:
    return f"growth_{rows}"


def fill(cluster: Cluster, sizes: list[int]) -> dict[int, str]:
    """Create and fill a database per size, each from a copy of the one before it; return their URLs."""
    # These import models, which need the settings.
    from django.db import connection  # noqa: PLC0415

    from bench import growth_data, pages_asked  # noqa: PLC0415

    pages_asked.prepare()
    connection.close()
    urls, before = {sizes[0]: cluster.url(_name(sizes[0]))}, 0
    growth_data.begin(urls[sizes[0]], max(sizes))
    for rows in sizes:
        if before:
            urls[rows] = cluster.duplicate(_name(before), _name(rows))
        _say(f"filling in {rows:,} jobs")
        began = time.monotonic()
        growth_data.fill(urls[rows], before, rows)
        _say(f"filled in {time.monotonic() - began:.0f} s")
        before = rows
    return urls


def measure(urls: dict[int, str], times: int) -> list[Size]:
    """Do each piece of work in each database in turn."""
    from bench import growth_asked, growth_data  # noqa: PLC0415
    from bench.growth_databases import Database  # noqa: PLC0415

    databases = [Database(rows, url) for rows, url in urls.items()]
    for database in databases:
        database.enter()
        growth_data.settle(database.url)
        database.operations = growth_asked.operations(database.client, database.url)
        database.measured = {name: Measured() for name in (growth_asked.FINDING, *database.operations)}
    # A server has none of the objects that migrations left in memory.
    gc.collect()
    gc.freeze()
    for name in databases[0].operations:
        for number in range(WARM_UP + times):
            for database in databases:
                _time(database, name, kept=number >= WARM_UP)
        for database in databases:
            _count_buffers(database, name)
        _say(name)
    return [Size(each.rows, each.measured, growth_data.bytes_of(each.url)) for each in databases]


def _time(database: Database, name: str, *, kept: bool) -> None:
    from bench import growth_asked  # noqa: PLC0415

    database.enter()
    operation = database.operations[name]
    if kept and growth_asked.reads_a_cache(name):
        operation()
    growth_asked.prepare(name, database.url)
    began, of_processor = time.perf_counter(), time.process_time()
    operation()
    took, of_processor = time.perf_counter() - began, time.process_time() - of_processor
    if kept:
        database.measured[name].milliseconds.append(took * 1000)
        database.measured[name].processor.append(of_processor * 1000)
    if name == growth_asked.SWEEP:
        _explain_finding(database.url, operation, database.measured[growth_asked.FINDING], kept=kept)


def _count_buffers(database: Database, name: str) -> None:
    from bench import growth_asked  # noqa: PLC0415
    from bench.plans import reported  # noqa: PLC0415

    database.enter()
    if growth_asked.reads_a_cache(name):
        database.operations[name]()
    growth_asked.prepare(name, database.url)
    with reported() as plans:
        database.operations[name]()
    measured = database.measured[name]
    measured.statements, measured.buffers = len(plans.statements), plans.buffers


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
