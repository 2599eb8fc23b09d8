"""``make bench-footprint``: the memory and the idle processor time of the console's processes on one host.

The web server with two processes, and ``run_cluster`` with all that it starts, on a new database and new queues. Some pages are
asked for first, so that what is loaded on first use counts. Memory is the PSS of Linux, which counts a page that n processes share
as an n-th of it in each; processor time is what the processes used while nothing was asked. Environment: BENCH_SECONDS (60).
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil

from opsconsole.demo import services
from opsconsole.demo.environment import OTHERS
from tests.programs import program
from tests.serving import free_port
from tests.waiting import wait_until

SECONDS = float(os.environ.get("BENCH_SECONDS", "60"))
SETTLE_SECONDS = 20.0
PAGES = ("/healthz", "/readyz", "/admin/login/", "/api/queue/TEST-001", "/api/openapi.json")
ASKED = 40
MB = 1024 * 1024


def environment(started: ExitStack, folder: Path) -> dict[str, str]:
    """Start the services, and return the environment of the console's processes."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OTHERS)}
    named = services.start(folder, started)
    services.make_queues(named["AWS_ENDPOINT_URL"])
    own = {
        "OPSCONSOLE_ENV": "production",
        "OPSCONSOLE_ALLOWED_HOSTS": "127.0.0.1",
        "OPSCONSOLE_SECRET_KEY": secrets.token_urlsafe(50),
        "OPSCONSOLE_VAR_DIR": str(folder / "var"),
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    return kept | own | named | {"SLACK_WEBHOOK_URL": ""}


def kind(process: psutil.Process, root: str) -> str:
    """Name a process by what it runs."""
    words = process.cmdline()
    for word in ("qcluster", "dispatch_outbox", "send_alerts", "run_cluster", "gunicorn"):
        if any(word in each for each in words):
            return {"run_cluster": "supervisor", "gunicorn": "web"}.get(word, word)
    return f"{root}: {Path(words[1] if len(words) > 1 else words[0]).name}" if words else root


def family(roots: dict[str, int]) -> Iterator[tuple[str, psutil.Process]]:
    for root, pid in roots.items():
        leader = psutil.Process(pid)
        for process in (leader, *leader.children(recursive=True)):
            yield kind(process, root), process


def processor_seconds(roots: dict[str, int]) -> Counter[str]:
    """Return what the processes have used so far, by what they run."""
    used: Counter[str] = Counter()
    for name, process in family(roots):
        spent = process.cpu_times()
        used[name] += spent.user + spent.system
    return used


def measure(roots: dict[str, int]) -> None:
    memory: dict[str, list[int]] = defaultdict(list)
    for name, process in family(roots):
        memory[name].append(process.memory_full_info().pss)
    before = processor_seconds(roots)
    began = time.monotonic()
    time.sleep(SECONDS)
    used = processor_seconds(roots)
    used.subtract(before)
    lasted = time.monotonic() - began
    print("| what | processes | PSS, MB | of a core, idle |\n|---|---:|---:|---:|")
    for name, sizes in sorted(memory.items()):
        print(f"| {name} | {len(sizes)} | {sum(sizes) / MB:.0f} | {used[name] / lasted:.2%} |")
    total = [size for sizes in memory.values() for size in sizes]
    print(f"| all | {len(total)} | {sum(total) / MB:.0f} | {used.total() / lasted:.2%} |\n")
    print(f"Idle for {SECONDS:g} s.")


def main() -> None:
    with ExitStack() as started, tempfile.TemporaryDirectory(prefix="opsconsole-bench-") as place:
        folder = Path(place)
        env = environment(started, folder)
        console = [sys.executable, "manage.py"]
        for command in (["migrate", "-v0"], ["sync_schedules"]):
            subprocess.run([*console, *command], env=env, check=True, stdout=subprocess.DEVNULL)
        port = free_port()
        web = [
            sys.executable,
            "-m",
            "gunicorn",
            "--config",
            "python:opsconsole.serving",
            "--bind",
            f"127.0.0.1:{port}",
        ]
        with (folder / "log").open("wb") as log:
            roots = {
                name: started.enter_context(
                    program(command, env=env, stdout=log, stderr=log, end_signal=signal.SIGTERM)
                ).pid
                for name, command in (
                    ("web", [*web, "--log-level", "error"]),
                    ("cluster", [*console, "run_cluster"]),
                )
            }
            address = f"http://127.0.0.1:{port}"
            wait_until(lambda: answers(f"{address}/readyz"), timeout=60, what="the web server")
            for _ in range(ASKED):
                for page in PAGES:
                    answers(address + page)
            time.sleep(SETTLE_SECONDS)
            measure(roots)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return bool(answer.read())
    except OSError:
        return False


if __name__ == "__main__":
    main()
