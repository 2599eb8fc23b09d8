"""``make bench-next``: the latency of a limited request to Next.js, beside one without a limiter and one that asks Valkey itself.

One built application with three routes, one kept connection that asks one request after the other; the routes take turns of
a hundred requests, so that other work of the machine meets all alike. Each request is of another client, so that the package
asks the console each time. Needs Node and npm. Environment: BENCH_TURNS (20).
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import count
from pathlib import Path
from statistics import median, quantiles
from urllib.parse import urlsplit

from bench.footprint import environment
from tests.clients.node import HERE, make, service
from tests.programs import program
from tests.serving import free_port
from tests.waiting import wait_until

TURNS, REQUESTS = int(os.environ.get("BENCH_TURNS", "20")), 100
ROUTES = {"plain": "without a limiter", "limited": "the package", "valkey": "asking Valkey itself"}
VALKEY_CLIENT = "ioredis@5.11.1"
APP = HERE / "next-app"

Figures = dict[str, list[float]]


def built(folder: Path) -> Path:
    """Return a copy of the tests' application with the routes to measure, built."""
    make(f"{APP.relative_to(HERE.parents[1])}/.next/built")
    app = folder / "app"
    shutil.copytree(APP, app, ignore=shutil.ignore_patterns(".next"), symlinks=True)
    shutil.copytree(Path(__file__).parent / "next_routes", app / "pages" / "api" / "bench")
    shutil.rmtree(app / "app")
    (app / "middleware.ts").unlink()
    ours = app / "node_modules" / "@opsconsole"
    kept = shutil.copytree(ours, folder / "ours")
    _run(app, "npm", "install", "--no-save", "--no-audit", "--no-fund", VALKEY_CLIENT)
    shutil.copytree(kept, ours, dirs_exist_ok=True)
    _run(app, "node_modules/.bin/next", "build")
    return app


def _run(app: Path, *command: str) -> None:
    env = os.environ | {"NEXT_TELEMETRY_DISABLED": "1"}
    subprocess.run(command, cwd=app, env=env, check=True, stdout=subprocess.DEVNULL)


def console(started: ExitStack, folder: Path) -> tuple[str, str, str]:
    """Start a console with its services; return its address, an API key for the limiter, and the URL of Valkey."""
    env = environment(started, folder)
    manage = [sys.executable, "manage.py"]
    subprocess.run([*manage, "migrate", "-v0"], env=env, check=True, stdout=subprocess.DEVNULL)
    words = ["create", "bench", "--scope", "limits:check", "--reason", "a measurement", "--json"]
    made = subprocess.run([*manage, "api_keys", *words], env=env, check=True, capture_output=True, text=True)
    port = free_port()
    web = [sys.executable, "-m", "gunicorn", "--config", "python:opsconsole.serving"]
    started.enter_context(
        program(
            [*web, "--bind", f"127.0.0.1:{port}", "--log-level", "critical"],
            env=env | {"OPSCONSOLE_ACCESS_LOG": "off"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            end_signal=signal.SIGTERM,
        )
    )
    wait_until(lambda: _is_up(port), timeout=60, what="the console")
    return f"http://127.0.0.1:{port}", json.loads(made.stdout)["key"], env["CACHE_URL"]


def _is_up(port: int) -> bool:
    try:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
            connection.request("GET", "/healthz")
            return connection.getresponse().status > 0
    except OSError:
        return False


def measure(port: int) -> Figures:
    took: Figures = defaultdict(list)
    clients = count()
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        for turn in range(TURNS + 1):
            for route in ROUTES if turn % 2 else reversed(ROUTES):
                for _ in range(REQUESTS):
                    began = time.perf_counter()
                    connection.request("GET", f"/api/bench/{route}?id={os.getpid()}-{next(clients)}")
                    response = connection.getresponse()
                    response.read()
                    if response.status != 200:
                        raise RuntimeError(f"{route} answered {response.status}")
                    # The first turn warms up.
                    if turn:
                        took[route].append(time.perf_counter() - began)
            print(f"turn {turn} of {TURNS}", file=sys.stderr, flush=True)
    return took


def table(took: Figures) -> Iterator[str]:
    yield f"Next.js, one connection, {TURNS * REQUESTS:,} requests per route, milliseconds.\n"
    yield "| route | median | p99 | median, of the one without a limiter |\n|---|---:|---:|---:|"
    for route, name in ROUTES.items():
        half = median(took[route])
        yield (
            f"| {name} | {half * 1_000:.2f} | {quantiles(took[route], n=100)[98] * 1_000:.2f} "
            f"| {half / median(took['plain']):.2f} |"
        )


def main() -> None:
    with ExitStack() as started, tempfile.TemporaryDirectory(prefix="opsconsole-bench-") as place:
        folder = Path(place)
        app = built(folder)
        address, key, valkey = console(started, folder)
        environ = {
            "NODE_ENV": "production",
            "NEXT_TELEMETRY_DISABLED": "1",
            "OPSCONSOLE_URL": address,
            "OPSCONSOLE_KEY": key,
            # ioredis takes the path of a socket as it is.
            "BENCH_VALKEY": urlsplit(valkey).path if valkey.startswith("unix:") else valkey,
        }
        command = ["node", str(app / "node_modules/next/dist/bin/next"), "start", str(app)]
        running = started.enter_context(service(folder, [*command, "--hostname", "127.0.0.1"], **environ))
        print("\n".join(table(measure(running.port))))


if __name__ == "__main__":
    main()
