"""``make bench-footprint``: the memory and the idle processor time of the console's processes on one host.

The web server with two processes, and ``run_cluster`` with all that it starts, on a new database and new queues: as two services,
and as one (``run_cluster --web``). Some pages are asked for first, so that what is loaded on first use counts. Packages that an
installation does not have (they are not in requirements.lock) are hidden from the processes: some libraries load them where they
find them. Memory is the PSS of Linux, which counts a page that n processes share as an n-th of it in each; processor time is what
the processes used while nothing was asked. Environment: BENCH_SECONDS (60).
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from importlib import metadata
from pathlib import Path
from statistics import fmean
from typing import Any

import psutil

from opsconsole.demo import services
from opsconsole.demo.environment import OTHERS
from tests.programs import program
from tests.serving import free_port
from tests.waiting import wait_until

SECONDS = float(os.environ.get("BENCH_SECONDS", "60"))
SETTLE_SECONDS = 20.0
LOOKS = 12
PAGES = ("/healthz", "/readyz", "/admin/login/", "/api/queue/TEST-001", "/api/openapi.json")
ASKED = 40
MB = 1024 * 1024
HIDING = """import sys
HIDDEN = set({})
class Hiding:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(name + " is hidden", name=name)
sys.meta_path.insert(0, Hiding())
"""


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


def without_others(folder: Path) -> str:
    """Return the folder of a module that Python reads at its start, and that hides what requirements.lock does not name."""
    locked = {
        canonical(line.partition("==")[0])
        for line in Path("requirements.lock").read_text().splitlines()
        if "==" in line
    }
    hidden = [
        module
        for module, owners in metadata.packages_distributions().items()
        if not locked & {canonical(owner) for owner in owners}
        and module not in {"opsconsole", "setuptools", "pip"}
    ]
    (folder / "sitecustomize.py").write_text(HIDING.format(sorted(hidden)))
    return str(folder)


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def kind(process: psutil.Process, root: str) -> str:
    """Name a process by what it runs."""
    words = process.cmdline()
    for word in ("qcluster", "loops", "run_cluster", "gunicorn"):
        if any(word in each for each in words):
            return {"run_cluster": "supervisor", "gunicorn": "web"}.get(word, word)
    return f"{root}: {Path(words[1] if len(words) > 1 else words[0]).name}" if words else root


def family(roots: dict[str, int]) -> Iterator[tuple[str, psutil.Process]]:
    for root, pid in roots.items():
        leader = psutil.Process(pid)
        for process in (leader, *leader.children(recursive=True)):
            # A worker of the cluster may end meanwhile.
            with suppress(psutil.NoSuchProcess):
                yield kind(process, root), process


def processor_seconds(roots: dict[str, int]) -> Counter[str]:
    """Return what the processes have used so far, and those of theirs that have ended, by what they run."""
    used: Counter[str] = Counter()
    for name, process in family(roots):
        with suppress(psutil.NoSuchProcess):
            spent = process.cpu_times()
            used[name] += spent.user + spent.system + spent.children_user + spent.children_system
    return used


def memory_now(roots: dict[str, int]) -> dict[str, list[int]]:
    """Return the PSS of each process, by what it runs."""
    sizes: dict[str, list[int]] = defaultdict(list)
    for name, process in family(roots):
        with suppress(psutil.NoSuchProcess):
            sizes[name].append(process.memory_full_info().pss)
    return sizes


def measure(roots: dict[str, int]) -> None:
    before = processor_seconds(roots)
    began = time.monotonic()
    # Workers of the cluster are forked for the tasks of each minute: the memory is looked at until each kind of moment was there.
    looks = []
    for look in range(LOOKS):
        time.sleep(max(0.0, began + SECONDS * (look + 0.5) / LOOKS - time.monotonic()))
        looks.append(memory_now(roots))
    time.sleep(max(0.0, began + SECONDS - time.monotonic()))
    used = processor_seconds(roots)
    used.subtract(before)
    lasted = time.monotonic() - began
    print("| what | processes | PSS, MB: mean | most | of a core, idle |\n|---|---:|---:|---:|---:|")
    for name in sorted({name for look in looks for name in look}):
        sizes = [look.get(name, []) for look in looks]
        print_row(name, sizes, used[name] / lasted)
    print_row(
        "all", [[size for sizes in look.values() for size in sizes] for look in looks], used.total() / lasted
    )
    print(f"\nIdle for {SECONDS:g} s; the memory was looked at {LOOKS} times.\n")


def print_row(name: str, looks: list[list[int]], share: float) -> None:
    totals = [sum(sizes) / MB for sizes in looks]
    counts = sorted({len(sizes) for sizes in looks})
    processes = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[0]}"
    print(f"| {name} | {processes} | {fmean(totals):.0f} | {max(totals):.0f} | {share:.2%} |")


def main() -> None:
    with ExitStack() as started, tempfile.TemporaryDirectory(prefix="opsconsole-bench-") as place:
        folder = Path(place)
        env = environment(started, folder)
        console = [sys.executable, "manage.py"]
        for command in (["migrate", "-v0"], ["sync_schedules"], ["collectstatic", "--noinput", "-v0"]):
            subprocess.run([*console, *command], env=env, check=True, stdout=subprocess.DEVNULL)
        port = free_port()
        (folder / "site").mkdir()
        env["PYTHONPATH"] = without_others(folder / "site")
        # As the recipes in deploy/ start them.
        env["MALLOC_ARENA_MAX"] = "1"
        env["GUNICORN_CMD_ARGS"] = f"--bind 127.0.0.1:{port} --log-level error"
        web = [sys.executable, "-m", "gunicorn", "--config", "python:opsconsole.serving"]
        layouts = {
            "Two services: web, and `run_cluster`": {"web": web, "cluster": [*console, "run_cluster"]},
            "One service: `run_cluster --web`": {"host": [*console, "run_cluster", "--web"]},
        }
        for title, commands in layouts.items():
            print(f"{title}:\n")
            with (folder / "log").open("wb") as log:
                look_at(commands, f"http://127.0.0.1:{port}", env=env, stdout=log, stderr=log)


def look_at(commands: dict[str, list[str]], address: str, **options: Any) -> None:
    """Run these commands, ask for pages, and measure."""
    with ExitStack() as started:
        roots = {
            name: started.enter_context(program(command, end_signal=signal.SIGTERM, **options)).pid
            for name, command in commands.items()
        }
        wait_until(lambda: answers(f"{address}/readyz"), timeout=60, what="the web server")
        if unanswered := {page for page in PAGES * ASKED if not answers(address + page)}:
            sys.exit(
                f"No answer to {', '.join(sorted(unanswered))}: what is loaded for it would not be measured."
            )
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
