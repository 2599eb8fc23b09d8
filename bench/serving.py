"""``make bench-serving``: the web server of the console beside plain gunicorn with its threads (``gthread``).

The same small application, two processes of four threads and four kept connections that ask one request after the other.
Both servers run, and take turns of half a second, so that other work of the machine meets both alike. Then 200 clients are
in the way of a new server, and the probe asks on a new connection. Environment: BENCH_TURNS (30), BENCH_PROBES (3).
"""

from __future__ import annotations

import os
import platform
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from importlib.metadata import version
from statistics import median, quantiles

from bench import failures
from bench.ratelimit_load import read_head, wait_for
from tests.programs import program

SECONDS = 0.5
TURNS, PROBES = int(os.environ.get("BENCH_TURNS", "30")), int(os.environ.get("BENCH_PROBES", "3"))
CONNECTIONS, MANY, PATIENCE = 4, 200, 5.0
SAME = ["--workers", "2", "--threads", "4", "--log-level", "critical", "--graceful-timeout", "1"]
SERVERS = {
    "gthread": ["--worker-class", "gthread"],
    "ours": ["--config", "python:opsconsole.serving"],
}
LOADS = {"/": "an answer of two bytes", "/page": "a page: 20 ms of processor time, 50 kB"}
REQUEST = "GET {} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
IN_THE_WAY = {
    "nothing at all": "",
    "idle connections": REQUEST.format("/"),
    "half a request each": REQUEST.format("/")[:-2],
    "a whole request each, which takes a second": REQUEST.format("/slow"),
}

Figures = dict[tuple[str, str], list[float]]


@contextmanager
def server(kind: str) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", *SERVERS[kind], *SAME, "--bind", f"127.0.0.1:{port}"]
    served = program(
        [*command, "bench.serving_wsgi:application"], end_signal=signal.SIGTERM, stderr=subprocess.DEVNULL
    )
    with served:
        wait_for(port)
        yield port


def requests_a_second(port: int, path: str) -> float:
    """Ask on all connections for as long as a measurement takes; return the number of answers per second."""
    counts = [0] * CONNECTIONS
    until = time.monotonic() + SECONDS

    def ask(number: int) -> None:
        with closing(socket.create_connection(("127.0.0.1", port), timeout=30)) as connection:
            while time.monotonic() < until:
                connection.sendall(REQUEST.format(path).encode())
                read_head(connection)
                counts[number] += 1

    failures.in_threads(partial(ask, number) for number in range(CONNECTIONS))
    return sum(counts) / SECONDS


def probe_seconds(port: int, sent: str) -> float:
    """Return how long the probe takes while many clients have sent this, at most PATIENCE."""
    with ExitStack() as opened:
        clients = [opened.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(MANY)]
        for client in clients if sent else ():
            client.sendall(sent.encode())
        time.sleep(0.2)
        began = time.monotonic()
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
                connection.sendall(REQUEST.format("/healthz").encode())
                read_head(connection)
        except TimeoutError:
            return PATIENCE
        return time.monotonic() - began


def measure() -> tuple[Figures, Figures]:
    rates, probes = defaultdict(list), defaultdict(list)
    with ExitStack() as running:
        ports = {kind: running.enter_context(server(kind)) for kind in SERVERS}
        for turn in range(TURNS):
            _say(f"turn {turn + 1} of {TURNS}")
            for path in LOADS:
                for kind in ports if turn % 2 else reversed(ports):
                    rates[path, kind].append(requests_a_second(ports[kind], path))
    for number in range(PROBES):
        _say(f"probes {number + 1} of {PROBES}")
        for name, sent in IN_THE_WAY.items():
            for kind in SERVERS:
                # A new one, because the clients of the last measurement may still be waited for.
                with server(kind) as port:
                    probes[name, kind].append(probe_seconds(port, sent))
    return dict(rates), dict(probes)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def tables(rates: Figures, probes: Figures) -> Iterator[str]:
    yield f"Python {platform.python_version()}, gunicorn {version('gunicorn')}, waitress {version('waitress')}.\n"
    yield "| requests per second, median | gthread | ours | ratio, median | the middle half |"
    yield "|---|---:|---:|---:|---:|"
    for path, label in LOADS.items():
        theirs, ours = rates[path, "gthread"], rates[path, "ours"]
        ratios = sorted(mine / other for mine, other in zip(ours, theirs, strict=True))
        yield (
            f"| {label} | {median(theirs):,.0f} | {median(ours):,.0f} | {median(ratios):.2f} "
            f"| {quantiles(ratios, n=4)[0]:.2f} to {quantiles(ratios, n=4)[2]:.2f} |"
        )
    yield f"\n| the probe, while {MANY} clients have sent | gthread, median | longest | ours, median | longest |"
    yield "|---|---:|---:|---:|---:|"
    for name in IN_THE_WAY:
        cells = [
            _seconds(figure)
            for kind in SERVERS
            for figure in (median(probes[name, kind]), max(probes[name, kind]))
        ]
        yield f"| {name} | {' | '.join(cells)} |"


def _seconds(figure: float) -> str:
    return f"none within {PATIENCE:.0f} s" if figure >= PATIENCE else f"{figure:.3f} s"


if __name__ == "__main__":
    print("\n".join(tables(*measure())))
