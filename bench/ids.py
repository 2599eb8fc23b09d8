"""``make bench-ids``: the recovery of ``bench-recovery`` on a database with uuids as ids of jobs, and on one with bigints.

The mapping is part of the models, so that each turn is a process of its own; both kinds take turns on one server.
Environment: BENCH_ROWS (300000), BENCH_REPEATS (5), BENCH_LAYOUT, BENCH_MEMORY, as of ``bench.recovery``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench.cluster import Cluster, running
from bench.shape import Shape

KINDS = ("uuid", "bigint")
PARTS = ("pages", "sweep", "lease and settle", "total")


def main() -> None:
    shape = shape_asked()
    repeats = int(os.environ.get("BENCH_REPEATS", "5"))
    seconds: dict[tuple[str, str], list[float]] = {}
    with (
        running(shared_buffers=os.environ.get("BENCH_MEMORY", "1GB")) as cluster,
        TemporaryDirectory() as folder,
    ):
        files = {kind: _mapping(Path(folder), kind) for kind in KINDS}
        for kind in KINDS:
            _turn("build", cluster, kind, cluster.create(f"of_{kind}"), files[kind])
            cluster.settle(f"of_{kind}")
        for number in range(repeats):
            for kind in KINDS if number % 2 else KINDS[::-1]:
                with cluster.copy_of(f"of_{kind}") as url:
                    spent = json.loads(_turn("recover", cluster, kind, url, files[kind]))
                for part in PARTS:
                    seconds.setdefault((kind, part), []).append(spent[part])
        print(
            f"{shape.rows:,} jobs, {shape.stale:,} stale runs, PostgreSQL {cluster.version}, {repeats} turns\n"
        )
    print("| part | uuid | bigint | ratio |\n|---|---:|---:|---:|")
    for part in PARTS:
        uuid, bigint = (median(seconds[kind, part]) for kind in KINDS)
        print(f"| {part} | {uuid:.2f} s | {bigint:.2f} s | {bigint / uuid:.2f} |")


def shape_asked() -> Shape:
    return Shape(int(os.environ.get("BENCH_ROWS", "300000")), os.environ.get("BENCH_LAYOUT", "newest"))


def _mapping(folder: Path, kind: str) -> Path:
    file = folder / f"{kind}.toml"
    file.write_text("" if kind == "uuid" else '[jobs]\nid_type = "bigint"\n')
    return file


def _turn(step: str, cluster: Cluster, kind: str, url: str, mapping: Path) -> str:
    """Run a step in a process with this mapping; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.ids_turn", step, kind, url],
        env=os.environ | {"OPSCONSOLE_MAPPING": str(mapping), "DATABASE_URL": cluster.url(f"of_{kind}")},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


if __name__ == "__main__":
    main()
