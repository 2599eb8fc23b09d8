"""``make bench-check``: ``POST /api/limits/check`` beside a plain Django view that reads the same JSON, both under load.

A third one is the plain view that also asks Valkey the same question: less than that takes no limiter with a round trip. A fourth
is the plain view behind the console's own middleware, with its line of the access log, its counts and its request id, as each
view of an installation is. A fifth is that view, which also asks Valkey: what is left for the check itself is the rest.

Each server is gunicorn as the console ships it with one process; all run at the same time on one PostgreSQL and one Valkey, and take
turns of half a second. Four kept connections ask one question after the other; each client is asked about fifty times, which its
limit allows. Environment: BENCH_TURNS (30).
"""

from __future__ import annotations

import json
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory

from bench import failures, process_clock
from bench.cluster import Cluster, running
from bench.processor_time import load
from bench.ratelimit import on_loopback
from bench.ratelimit_load import read_head, wait_for
from opsconsole import embedded
from tests.programs import program

SECONDS, CONNECTIONS, ASKED_BY_ONE = 0.5, 4, 50
OURS, PLAIN, ASKING, BEHIND, BOTH = (
    "POST /api/limits/check",
    "a plain Django view",
    "the plain view, which asks Valkey the same question",
    "the plain view behind the console's middleware",
    "the plain view behind the console's middleware, which asks Valkey as well",
)
VIEWS = {PLAIN: "plain", ASKING: "asking", BEHIND: "behind", BOTH: "both", OURS: "console"}
# The console's own refuses to serve without its middleware.
APPLICATIONS = dict.fromkeys(VIEWS, "django.core.wsgi:get_wsgi_application()") | {
    OURS: "opsconsole.wsgi:application"
}
HEAD = (
    "POST /api/limits/check HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {}\r\n"
    "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n"
)
MAKE_KEY = """
import uuid, django; django.setup()
from ratelimits.keys import api_keys
print(api_keys.create(key_id=uuid.uuid4(), name='bench', scopes=['limits:check'], policy='api-key', expires_at=None,
                      by='bench', reason='bench')[1])
from ratelimits.models import Policy
Policy.objects.filter(name='limits-check').update(limit=10_000_000)
"""


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    turns = int(os.environ.get("BENCH_TURNS", "30"))
    with (
        TemporaryDirectory(prefix="bench-") as folder,
        running() as cluster,
        embedded.start_valkey(Path(folder)) as valkey,
    ):
        environ = _environ(cluster, on_loopback(valkey.url))
        key = _prepare(environ)
        with ExitStack() as servers:
            served = {name: servers.enter_context(_server(environ, name)) for name in VIEWS}
            walls: dict[str, list[list[float]]] = {name: [] for name in VIEWS}
            spent = dict.fromkeys(VIEWS, 0.0)
            for turn in range(-2, turns):
                for name, (port, server) in served.items():
                    before = process_clock.seconds_with_children(server)
                    took = _ask(port, key, turn)
                    if turn >= 0:
                        walls[name].append(took)
                        spent[name] += process_clock.seconds_with_children(server) - before
    print(
        f"{load()}, {turns} turns of {SECONDS} s, {CONNECTIONS} connections. Python {platform.python_version()}.\n"
    )
    print("\n".join(_table(walls, spent)))


def _environ(cluster: Cluster, store: str) -> dict[str, str]:
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "opsconsole.settings",
        "OPSCONSOLE_ENV": "development",
        "DATABASE_URL": cluster.create("checks"),
        "CACHE_URL": store,
    }


def _prepare(environ: Mapping[str, str]) -> str:
    """Make the tables, and a key for the route. Return the key."""
    migrate = [sys.executable, "manage.py", "migrate", "--no-input", "--verbosity", "0"]
    subprocess.run(migrate, env=environ, stdout=subprocess.DEVNULL, check=True)
    made = subprocess.run(
        [sys.executable, "-c", MAKE_KEY], env=environ, check=True, capture_output=True, text=True
    )
    return made.stdout.split()[-1]


@contextmanager
def _server(environ: Mapping[str, str], name: str) -> Iterator[tuple[int, int]]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    own = {**environ, "DJANGO_SETTINGS_MODULE": "bench.check_settings", "BENCH_VIEW": VIEWS[name]}
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "--config",
        "python:opsconsole.serving",
        APPLICATIONS[name],
    ]
    command += ["--bind", f"127.0.0.1:{port}", "--workers", "1", "--log-level", "critical"]
    with program(
        command, end_signal=signal.SIGTERM, env=own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        wait_for(port)
        yield port, process.pid


def _ask(port: int, key: str, turn: int) -> list[float]:
    """Ask on all connections for as long as a turn takes. Return the seconds that each question took."""
    walls: list[list[float]] = [[] for _ in range(CONNECTIONS)]
    until = time.monotonic() + SECONDS

    def ask(number: int) -> None:
        with closing(socket.create_connection(("127.0.0.1", port), timeout=30)) as connection:
            while (began := time.monotonic()) < until:
                client = f"{turn} {number} {len(walls[number]) // ASKED_BY_ONE}"
                body = json.dumps({"policy": "standard", "identity": client, "cost": 1})
                connection.sendall((HEAD.format(key, len(body)) + body).encode())
                head = read_head(connection)
                walls[number].append(time.monotonic() - began)
                if b" 200 " not in head[:20]:
                    raise ValueError(head)

    failures.in_threads(partial(ask, number) for number in range(CONNECTIONS))
    return [wall for each in walls for wall in each]


def _table(walls: Mapping[str, list[list[float]]], spent: Mapping[str, float]) -> Iterator[str]:
    yield (
        "| what is asked | per second | median, ms | p99, ms | median of the plain view's | p99 of the plain view's "
        "| processor of the server, us | of the plain view's |"
    )
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    whole = {name: [wall for turn in each for wall in turn] for name, each in walls.items()}
    plain, processor = quantiles(whole[PLAIN], n=100), spent[PLAIN] / len(whole[PLAIN])
    for name, took in whole.items():
        cuts, own = quantiles(took, n=100), spent[name] / len(took)
        rate = median(len(turn) / SECONDS for turn in walls[name])
        yield (
            f"| {name} | {rate:,.0f} | {cuts[49] * 1000:.2f} | {cuts[98] * 1000:.2f} "
            f"| {cuts[49] / plain[49]:.2f} | {cuts[98] / plain[98]:.2f} | {own * 1e6:,.0f} | {own / processor:.2f} |"
        )
    check, own = quantiles(whole[OURS], n=100), spent[OURS] / len(whole[OURS])
    for name in (BEHIND, BOTH):
        cuts, theirs = quantiles(whole[name], n=100), spent[name] / len(whole[name])
        yield (
            f"\n{OURS} takes {check[49] / cuts[49]:.2f} times the median and {check[98] / cuts[98]:.2f} times the p99 of "
            f"{name}, and {own / theirs:.2f} times its processor."
        )


if __name__ == "__main__":
    main()
