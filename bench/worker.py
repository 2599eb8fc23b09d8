"""``make bench-worker``: the memory and the start of a worker: with the console (``run_worker``), without it, and over the HTTP API.

Each worker listens to an empty queue on a new database, until it has sent a heartbeat and asked the queue. Memory is the RSS of Linux;
the start is the processor time until then, and of the imports alone the least of several tries in new processes, which take turns.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from bench.footprint import environment
from bench.ratelimit_load import wait_for
from tests.programs import program
from tests.waiting import wait_until

TRIES = 7
MB = 1024 * 1024
HANDLER = "tests.jobs.worker.handlers.return_at_once"
WORKERS = {
    "run_worker": ["manage.py", "run_worker", "--handler", HANDLER],
    "opsconsole_worker": ["-m", "opsconsole_worker", "--handler", HANDLER],
    "opsconsole_worker --http": ["-m", "opsconsole_worker", "--http", "--handler", HANDLER],
}
# What each reads before its first heartbeat.
IMPORTS = {
    "run_worker": "from opsconsole import command_line; import os;"
    " os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'opsconsole.settings');"
    " command_line._read_code(); import jobs.management.commands.run_worker",
    "opsconsole_worker": "from opsconsole_worker import command_line; from opsconsole_worker.database import direct;"
    " from opsconsole_worker.working import consumer, handler_choice, signals",
    "opsconsole_worker --http": "from opsconsole_worker import command_line;"
    " from opsconsole_worker.reports import console_http, reporting, to_console;"
    " from opsconsole_worker.working import consumer, handler_choice, signals",
}
QUEUE_CLIENT = "; from opsconsole_worker import sqs; sqs.load()"


def import_seconds(code: str, env: dict[str, str]) -> float:
    """Return how long a new process takes for these imports."""
    timed = f"import time; began = time.perf_counter(); {code}; print(time.perf_counter() - began)"
    told = subprocess.run(
        [sys.executable, "-c", timed], env=env, check=True, capture_output=True, text=True, timeout=60
    )
    return float(told.stdout.split()[-1])


def at_work(words: list[str], env: dict[str, str], log: Path) -> tuple[float, float]:
    """Return the memory in MB of a worker that waits for messages, and its processor time in seconds until then."""
    with (
        log.open("wb") as lines,
        program([sys.executable, *words], env=env, stdout=lines, stderr=lines) as process,
    ):
        wait_until(lambda: b"listens to the queue" in log.read_bytes(), 60)
        # Several turns: a heartbeat, then a question to the queue that lasts until the next one.
        time.sleep(12)
        measured = psutil.Process(process.pid)
        spent = measured.cpu_times()
        return measured.memory_info().rss / MB, spent.user + spent.system


@contextmanager
def console(env: dict[str, str], folder: Path) -> Iterator[dict[str, str]]:
    """Serve the console; yield the address and a key for a worker over its API."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    words = [
        sys.executable,
        "manage.py",
        "api_keys",
        "create",
        "bench",
        "--scope",
        "worker",
        "--reason",
        "a measurement",
    ]
    told = subprocess.run(words, env=env, check=True, capture_output=True, text=True, timeout=60).stdout
    [key] = [word for word in told.split() if word.startswith("ock_")]
    served = [
        sys.executable,
        "-m",
        "gunicorn",
        "--config",
        "python:opsconsole.serving",
        "--bind",
        f"127.0.0.1:{port}",
    ]
    with (
        (folder / "console.log").open("wb") as lines,
        program(served, env=env, stdout=lines, stderr=lines, end_signal=signal.SIGTERM),
    ):
        wait_for(port)
        yield {"OPSCONSOLE_URL": f"http://127.0.0.1:{port}", "OPSCONSOLE_KEY": key}


def main() -> None:
    """Measure the three, and print the table with the ratios to the first."""
    with ExitStack() as started, tempfile.TemporaryDirectory(prefix="opsconsole-bench-") as place:
        folder = Path(place)
        env = environment(started, folder)
        subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], env=env, check=True)
        imports: dict[str, list[float]] = {name: [] for name in WORKERS}
        clients: dict[str, list[float]] = {name: [] for name in WORKERS}
        for _ in range(TRIES):
            for name, code in IMPORTS.items():
                imports[name].append(import_seconds(code, env))
                clients[name].append(import_seconds(code + QUEUE_CLIENT, env))
        env |= started.enter_context(console(env, folder))
        rows = {
            name: (
                *at_work(words, env, folder / f"{name}.log"),
                min(imports[name]),
                min(clients[name]),
            )
            for name, words in WORKERS.items()
        }
    print("| worker | RSS, MB | processor time, s | imports, s | imports with the client of SQS, s |")
    print("|---|---:|---:|---:|---:|")
    for name, row in rows.items():
        print(f"| `{name}` | {row[0]:.0f} | {row[1]:.2f} | {row[2]:.2f} | {row[3]:.2f} |")
    for name in list(WORKERS)[1:]:
        ratios = [ours / theirs for ours, theirs in zip(rows[name], rows["run_worker"], strict=True)]
        print(f"| `{name}` to `run_worker` | {' | '.join(f'{ratio:.2f}' for ratio in ratios)} |")


if __name__ == "__main__":
    main()
