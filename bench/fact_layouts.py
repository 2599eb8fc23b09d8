"""``make bench-layouts``: the console's facts about a job as columns of others' table, and as a table of the console's own.

Both layouts hold the same jobs in databases of one PostgreSQL, and take turns: sweeps, claims and completions in fresh
copies (the shape of ``bench-recovery``), then pages and figures (the shape of ``bench-pages``). The other layout is
``bench.fact_layouts_sql``. Nothing vacuums by itself meanwhile, so that all WAL is that of the work. Environment:
BENCH_ROWS (1000000), BENCH_REPEATS (6; 0 leaves out sweeps and workers), BENCH_TIMES (25; 0 leaves out pages),
BENCH_MEMORY (1GB), PREPARED (1 measures only claims and completions by prepared statements).
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench.cluster import running
from bench.recovery import set_up_django
from bench.shape import Shape
from opsconsole import embedded


def main() -> None:
    shape = Shape(int(os.environ.get("BENCH_ROWS", "1000000")))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with (
        TemporaryDirectory(prefix="bench-") as folder,
        running(shared_buffers=os.environ.get("BENCH_MEMORY", "1GB"), autovacuum="off") as cluster,
        embedded.start_valkey(Path(folder)) as valkey,
    ):
        os.environ |= {
            "CACHE_URL": valkey.url,
            "OPSCONSOLE_PAGE_TIMEOUT_SECONDS": "0",
        }
        set_up_django(cluster, "development")
        print(f"{shape.rows:,} jobs, {shape.stale:,} of them stale; PostgreSQL {cluster.version}.\n")
        # These import models, which need the settings.
        from bench.fact_layouts_pages import measure_pages  # noqa: PLC0415
        from bench.fact_layouts_prepared import measure_prepared  # noqa: PLC0415
        from bench.fact_layouts_work import measure_work  # noqa: PLC0415

        repeats = int(os.environ.get("BENCH_REPEATS", "6"))
        if os.environ.get("PREPARED"):
            print(table("as a worker sends them", measure_prepared(cluster, shape, repeats)))
            return
        if repeats:
            print(table("sweeps and workers", measure_work(cluster, shape, repeats)))
        if times := int(os.environ.get("BENCH_TIMES", "25")):
            print(table("pages and figures, ms", measure_pages(cluster, shape.rows, times)))


def table(title: str, turns: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    # The columns come first, then our own table.
    layouts = sorted(dict.fromkeys(layout for of_layouts in turns.values() for layout in of_layouts))
    lines = [
        f"| {title} | {' | '.join(layouts)} | ratio |",
        f"|---|{'---:|' * len(layouts)}---:|",
    ]
    for name, of_layouts in turns.items():
        middle = {layout: median(figures) for layout, figures in of_layouts.items()}
        cells = " | ".join(f"{middle[layout]:.3g}" if layout in middle else "" for layout in layouts)
        lines.append(f"| {name} | {cells} | {middle[layouts[1]] / middle[layouts[0]]:.2f} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
