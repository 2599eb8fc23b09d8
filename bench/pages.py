"""``make bench-pages``: each page of the console on a million jobs, beside stock admin lists of as many rows.

Server time, SQL and bytes of each page. Pages are requested in turn, so that noise on the machine affects all alike;
then the console's lists are measured again on ten times as many jobs. Environment: BENCH_ROWS (1000000), BENCH_GROWN
(ten times that), BENCH_TIMES (30).
"""

from __future__ import annotations

import gc
import gzip
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Any

import django

from bench.cluster import running
from bench.processor_time import Spent, counted, load
from opsconsole import embedded
from opsconsole.serving import program

WARM_UP = 3
# The cache is cleared before each request for these pages, but not for the others.
FORGETFUL = {"overview, nothing kept"}
# A search that finds a single page leads to it.
LEAD_ON = {"search, by a short id"}
QUEUE_URL = "https://sqs.us-east-1.amazonaws.com/000000000000/bench"
POLL = {"X-Poll": "1"}
ASSET = re.compile(r'(?:href|src)="/static/([^"?]+)"')


@dataclass
class Taken:
    """Milliseconds per request, in total, in SQL and of the processor; statements and bytes of the last request."""

    whole: list[float] = field(default_factory=list)
    sql: list[float] = field(default_factory=list)
    statements: int = 0
    size: int = 0
    cold: int = 0
    spent: Spent = field(default_factory=Spent)

    @property
    def p95(self) -> float:
        return quantiles(self.whole, n=20)[-1]


def main() -> None:
    rows = int(os.environ.get("BENCH_ROWS", "1000000"))
    grown = int(os.environ.get("BENCH_GROWN", str(10 * rows)))
    times = int(os.environ.get("BENCH_TIMES", "30"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with (
        TemporaryDirectory(prefix="bench-") as folder,
        running() as cluster,
        embedded.start_valkey(Path(folder)) as valkey,
    ):
        url = cluster.create("pages")
        set_up_django(url, valkey.url, "bench.pages_settings")
        # These import models, which need the settings.
        from bench import pages_asked, pages_data  # noqa: PLC0415

        client = pages_asked.prepare()
        _say(f"filling in {rows:,} jobs")
        pages_data.fill(url, rows)
        few = measure(client, pages_asked.pages() | pages_asked.others(), times)
        few |= polls(client, pages_asked.LIVE, times)
        print(_table(f"{rows:,} jobs, {times} requests a page", few))
        if grown > rows:
            _say(f"growing to {grown:,} jobs")
            pages_data.grow(url, rows, grown)
            many = measure(client, pages_asked.pages(), times)
            print(_growth(few, many, grown))


def set_up_django(url: str, valkey: str, settings: str) -> None:
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": settings,
        "OPSCONSOLE_ENV": "development",
        "DATABASE_URL": url,
        "CACHE_URL": valkey,
        "SQS_QUEUE_URL": QUEUE_URL,
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
    }
    django.setup()
    logging.disable(logging.WARNING)


def measure(client: Any, pages: Mapping[str, str], times: int) -> dict[str, Taken]:
    # As a web process begins (``opsconsole.serving.on_starting``): with what requests need, out of the garbage collector's sight.
    # What migrations left in memory, which a server does not have, is so as well.
    program.load()
    gc.collect()
    gc.freeze()
    taken = {name: Taken() for name in pages}
    for number in range(WARM_UP + times):
        for name, address in pages.items():
            if name in FORGETFUL:
                forget()
            status = 302 if name in LEAD_ON else 200
            ask(client, address, taken[name], kept=number >= WARM_UP, status=status)
    return taken


def polls(client: Any, pages: Mapping[str, str], times: int) -> dict[str, Taken]:
    """Measure polls of live pages on which nothing changed. Whatever their pages cached has to be older than that first."""
    from opsconsole.live_pages import RENDERED_EVERY  # noqa: PLC0415

    versions = {name: client.get(address, headers=POLL).headers["ETag"] for name, address in pages.items()}
    _say(f"waiting {RENDERED_EVERY} s until nothing is cached")
    time.sleep(RENDERED_EVERY)
    taken = {name: Taken() for name in pages}
    for number in range(WARM_UP + times):
        for name, address in pages.items():
            known = POLL | {"If-None-Match": versions[name]}
            answer = ask(client, address, taken[name], kept=number >= WARM_UP, status=304, headers=known)
            versions[name] = answer.headers["ETag"]
    return taken


def forget() -> None:
    """Empty the cache of the overview."""
    from opsconsole import overview  # noqa: PLC0415

    overview.memory.clear()


def ask(
    client: Any,
    address: str,
    taken: Taken,
    *,
    kept: bool,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Any:
    """Request a page; add its times to ``taken``, if they are to be kept. Return the response."""
    from django.db import connection  # noqa: PLC0415

    spent: list[float] = []

    def watch(execute: Callable[..., Any], *call: Any) -> Any:
        began = time.perf_counter()
        try:
            return execute(*call)
        finally:
            spent.append(time.perf_counter() - began)

    began = time.perf_counter()
    with connection.execute_wrapper(watch), counted(taken.spent if kept else Spent()):
        answer = client.get(address, headers=headers)
        content = answer.content
    whole = time.perf_counter() - began
    # The first poll after a while may find another age in words.
    assert answer.status_code == status or not kept, (address, answer.status_code)
    if kept:
        taken.whole.append(whole * 1000)
        taken.sql.append(sum(spent) * 1000)
        taken.statements, taken.size = len(spent), len(content)
        taken.cold = taken.cold or _cold(content)
    return answer


def _cold(page: bytes) -> int:
    """Return the bytes of a first visit: the page and everything it links, compressed as by whitenoise."""
    from django.contrib.staticfiles import finders  # noqa: PLC0415

    found = [finders.find(name) for name in set(ASSET.findall(page.decode()))]
    assets = sum(len(gzip.compress(Path(path).read_bytes())) for path in found if path)
    return len(page) + assets


def _table(title: str, taken: Mapping[str, Taken]) -> str:
    lines = [
        f"{title}; {load()}",
        "",
        "| page | p50, ms | p95, ms | SQL statements | SQL, ms | Python's processor, ms | the server's, ms | KB | KB cold |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [f"| {name} | {' | '.join(_cells(each))} |" for name, each in taken.items()]
    return "\n".join(lines)


def _cells(of: Taken) -> list[str]:
    times = [f"{median(of.whole):.1f}", f"{of.p95:.1f}", str(of.statements), f"{median(of.sql):.1f}"]
    processor = [f"{of.spent.own_per_turn:.1f}", _or_unknown(of.spent.server_per_turn)]
    return [*times, *processor, f"{of.size / 1024:.0f}", f"{of.cold / 1024:.0f}"]


def _or_unknown(number: float | None) -> str:
    return "unknown" if number is None else f"{number:.1f}"


def _growth(few: Mapping[str, Taken], many: Mapping[str, Taken], grown: int) -> str:
    lines = [
        "",
        f"{grown:,} jobs",
        "",
        "| page | p50, ms | p95, ms | p50 in times of the above |",
        "|---|---:|---:|---:|",
    ]
    lines += [
        f"| {name} | {median(each.whole):.1f} | {each.p95:.1f} | {median(each.whole) / median(few[name].whole):.2f} |"
        for name, each in many.items()
    ]
    return "\n".join(lines)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
