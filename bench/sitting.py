"""The benchmarks of docs/benchmarks.md in one sitting: each runs alone, and what it prints is written into that page.

Environment: BENCH_ONLY, names with commas between; without it, all of them run. On a machine that does other work, times say
little, so above the figures stands how busy it was right before.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil

LOOK_SECONDS = 5
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"


@dataclass(frozen=True)
class Benchmark:
    """What runs in a sitting: the make target ``bench-TARGET``, by default that of its name, with this environment."""

    name: str
    environ: dict[str, str] = field(default_factory=dict)
    target: str = ""

    @property
    def made(self) -> str:
        return f"bench-{self.target or self.name}"

    @property
    def command(self) -> str:
        return " ".join([*(f"{name}={value}" for name, value in self.environ.items()), f"make {self.made}"])


SITTING = (
    Benchmark("recovery", {"BENCH_REPEATS": "3"}),
    Benchmark("pages", {"BENCH_TIMES": "20"}),
    Benchmark("check"),
    Benchmark("sending", {"BENCH_MESSAGES": "20000"}),
    Benchmark("dlq"),
    Benchmark("ratelimit", {"BENCH_TURNS": "15"}),
    Benchmark("footprint"),
    Benchmark("bulk"),
    Benchmark("burst"),
    Benchmark("million", {"BENCH_BULK_MEMBERS": "300000"}),
    Benchmark("beats", {"BENCH_KINDS": "ours"}),
    Benchmark("idle"),
    Benchmark("clients"),
    Benchmark("job"),
    Benchmark("worker"),
    Benchmark("ids"),
    Benchmark(
        "recovery-new-server",
        {"BENCH_SERVERS": "own", "BENCH_MEMORY": "128MB", "BENCH_ROWS": "300000", "BENCH_REPEATS": "3"},
        target="recovery",
    ),
    Benchmark("serving"),
    Benchmark("next"),
    Benchmark("growth", {"GROWTH_MILLIONS": "1,30", "BENCH_TIMES": "3"}),
)


def main() -> None:
    known = {benchmark.name: benchmark for benchmark in SITTING}
    names = [name for name in os.environ.get("BENCH_ONLY", "").split(",") if name] or list(known)
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"No benchmark of a sitting is called {', '.join(unknown)}. Choose from {', '.join(known)}.")
    failed = [name for name in names if not _run(known[name])]
    if failed:
        sys.exit(f"Not passed, and left as they were in the page: {', '.join(failed)}.")


def _run(benchmark: Benchmark) -> bool:
    """Run it, write what it printed into the page, and tell whether it passed."""
    busy = psutil.cpu_percent(interval=LOOK_SECONDS)
    began = time.monotonic()
    # Its progress goes to the terminal.
    done = subprocess.run(
        ["make", "--silent", benchmark.made],
        cwd=PAGE.parents[1],
        env=os.environ | benchmark.environ,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    minutes = (time.monotonic() - began) / 60
    print(
        f"{benchmark.name}: {minutes:.1f} minutes, exit code {done.returncode}", file=sys.stderr, flush=True
    )
    if done.returncode == 0:
        today = f"{datetime.now(UTC):%Y-%m-%d}"
        title = f"`{benchmark.command}` on {today}; the processors were {busy:.0f} % busy before:"
        PAGE.write_text(with_figures(PAGE.read_text(), benchmark.name, f"{title}\n\n{done.stdout.strip()}"))
    return done.returncode == 0


def with_figures(page: str, name: str, figures: str) -> str:
    """Return the page with these figures between the marks of this benchmark.

    Raises ``ValueError`` for a page without them.
    """
    begin, end = marks(name)
    around = re.compile(f"({re.escape(begin)}\n).*?({re.escape(end)})", re.DOTALL)
    found, number = around.subn(lambda match: f"{match[1]}\n{figures}\n\n{match[2]}", page)
    if number != 1:
        raise ValueError(f"docs/benchmarks.md has to hold {begin} and {end} once, and in this order.")
    return found


def marks(name: str) -> tuple[str, str]:
    """Return the comments between which the figures of a benchmark stand."""
    return f"<!-- figures of bench-{name} -->", f"<!-- end of bench-{name} -->"


if __name__ == "__main__":
    main()
