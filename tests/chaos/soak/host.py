"""A host: its own way to PostgreSQL and to SQS, and the processes that its service manager keeps running."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import psutil

from tests.chaos.soak.fault_proxy import FaultProxy
from tests.chaos.soak.services import Services
from tests.programs import program
from tests.repository import REPOSITORY

MANAGE = [sys.executable, "manage.py"]
WORKERS = 3


class Host:
    """Processes that reach the services only through this host's proxies."""

    def __init__(self, name: str, services: Services, folder: Path) -> None:
        self.name, self.services, self.folder = name, services, folder
        self.postgres = FaultProxy(services.connect_to_postgres)
        self.sqs = FaultProxy(services.connect_to_sqs)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._stack = ExitStack()
        self._started = 0

    @property
    def commands(self) -> dict[str, list[str]]:
        worker = [*MANAGE, "run_worker", "--handler", "tests.chaos.soak.handler.work"]
        skewed = [sys.executable, "-m", "tests.chaos.soak.skewed_worker"]
        return {
            "cluster": [*MANAGE, "run_cluster"],
            "sweeps": [*MANAGE, "recover_stale_jobs", "--loop", f"--interval={self.services.sweep_seconds}"],
            "skewed": [*skewed, self.services.clock_error(self.name)],
        } | {f"worker-{number}": worker for number in range(WORKERS)}

    @property
    def environment(self) -> dict[str, str]:
        endpoint = f"http://127.0.0.1:{self.sqs.port}"
        return self.services.environment | {
            "DATABASE_URL": f"postgres://postgres@127.0.0.1:{self.postgres.port}/postgres",
            "AWS_ENDPOINT_URL": endpoint,
            "SQS_QUEUE_URL": f"{endpoint}/123456789012/jobs",
            "SQS_DLQ_URL": f"{endpoint}/123456789012/jobs-dlq",
        }

    def __enter__(self) -> Self:
        self._stack.enter_context(self.postgres)
        self._stack.enter_context(self.sqs)
        self.keep_running()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def keep_running(self) -> None:
        """Start what does not run, as a service manager does."""
        for name, command in self.commands.items():
            process = self._processes.get(name)
            if process is None or process.poll() is not None:
                self._processes[name] = self._start(name, command)

    def _start(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        self._started += 1
        with (self.folder / f"{self.name}-{name}-{self._started:03}.log").open("wb") as log:
            return self._stack.enter_context(
                program(command, cwd=REPOSITORY, env=self.environment, stdout=log, stderr=subprocess.STDOUT)
            )

    def run(self, *words: str) -> bool:
        """Run a command to its end; return whether it succeeded. Its outcome is unknown when the network fails."""
        done = subprocess.run(
            [*MANAGE, *words],
            cwd=REPOSITORY,
            env=self.environment,
            capture_output=True,
            timeout=180,
            check=False,
        )
        return done.returncode == 0

    def pids(self, prefix: str) -> list[int]:
        """Return the live processes whose names begin so."""
        return [
            process.pid
            for name, process in self._processes.items()
            if name.startswith(prefix) and process.poll() is None
        ]

    def kill_part_of_the_cluster(self, chance: random.Random) -> str:
        """Kill one process of the cluster, chosen by ``chance`` among it and its children."""
        [pid] = self.pids("cluster")[:1] or [0]
        if not pid:
            return "the cluster was not running"
        leader = psutil.Process(pid)
        victims = [leader, *leader.children(recursive=True)]
        victim = chance.choice(victims)
        try:
            words = " ".join(victim.cmdline()).strip()[-60:]
            victim.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            return "the process had ended"
        return f"killed {words}"
