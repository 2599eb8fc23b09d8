"""The system under test: PostgreSQL, SQS behind a proxy, and the console's own processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import boto3
import psutil
import psycopg
from psycopg.rows import namedtuple_row

from opsconsole import embedded
from tests.chaos.proxy import RefusingProxy
from tests.programs import program
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


class Stage:
    """Starts the services, runs management commands as processes, and ends all of them."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.settings = {name: str(value) for name, value in settings.items()}
        self.processes: list[subprocess.Popen[bytes]] = []
        # Frozen workers, which must not be killed.
        self.spared: set[int] = set()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.callback(self._end)
        self.postgres = embedded.start_postgres(self.folder / "postgres", throwaway=True)
        self.sqs = embedded.start_sqs(self.folder / "sqs")
        self.proxy = self._stack.enter_context(RefusingProxy(urlsplit(self.sqs.url).port or 0))
        self._make_queues()
        self.run("migrate", "--verbosity=0")
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _end(self) -> None:
        self.sqs.stop()
        self.postgres.stop()

    def _make_queues(self) -> None:
        client = boto3.client(
            "sqs",
            endpoint_url=self.sqs.url,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        for name in ("jobs", "jobs-dlq"):
            client.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "5"})

    @property
    def environment(self) -> dict[str, str]:
        endpoint = f"http://127.0.0.1:{self.proxy.port}"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("OPSCONSOLE_")}
        return (
            inherited
            | CREDENTIALS
            | {
                "DATABASE_URL": self.postgres.url,
                "AWS_ENDPOINT_URL": endpoint,
                "SQS_QUEUE_URL": f"{endpoint}/123456789012/jobs",
                "SQS_DLQ_URL": f"{endpoint}/123456789012/jobs-dlq",
                "OPSCONSOLE_ENV": "development",
                "PYTHONPATH": str(ROOT),
            }
            | self.settings
        )

    def spawn(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a management command in the background; its output goes to a file in the folder."""
        with (self.folder / f"{len(self.processes):02}-{words[0]}.log").open("wb") as log:
            started = program(
                [sys.executable, "manage.py", *words],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            process = self._stack.enter_context(started)
        self.processes.append(process)
        return process

    def said(self, process: subprocess.Popen[bytes]) -> str:
        """Return the output of a spawned command so far."""
        number = self.processes.index(process)
        [log] = self.folder.glob(f"{number:02}-*.log")
        return log.read_text(errors="replace")

    def run(self, *words: str) -> str:
        """Run a management command to its end; a failure fails the test with the command's output."""
        done = subprocess.run(
            [sys.executable, "manage.py", *words],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def rows(self, query: str, **values: object) -> list[Any]:
        """Query the database on a separate connection, because it may have been restarted."""
        with psycopg.connect(self.postgres.url, row_factory=namedtuple_row) as connection:
            return connection.execute(query, values or None).fetchall()

    def change(self, statement: str, **values: object) -> None:
        """Write to the database as another application would."""
        with psycopg.connect(self.postgres.url) as connection:
            connection.execute(statement, values or None)

    def restart_postgres(self) -> None:
        self.postgres.stop()
        self.postgres = embedded.start_postgres(self.folder / "postgres", throwaway=True)

    def refuse_sqs(self, times: int) -> None:
        """Refuse connections to SQS until its clients have been refused this many times."""
        enough = self.proxy.refused + times
        self.proxy.open.clear()
        wait_until(lambda: self.proxy.refused >= enough, timeout=30)
        self.proxy.open.set()

    def kill_a_busy_worker(self) -> Any:
        """Kill a busy worker; return its run (pid, job_id, epoch), which may have ended just before the signal."""
        alive = {process.pid for process in self.processes if process.poll() is None} - self.spared
        [run, *_] = wait_until(lambda: [run for run in self._runs() if run.pid in alive], timeout=30)
        os.kill(run.pid, signal.SIGKILL)
        next(process for process in self.processes if process.pid == run.pid).wait()
        return run

    def run_of_frozen(self, worker: subprocess.Popen[bytes]) -> Any:
        """Wait until a handler has frozen this worker; return its run (pid, job_id, epoch). Spare it from then on."""
        self.spared.add(worker.pid)
        frozen = psutil.Process(worker.pid)
        wait_until(lambda: frozen.status() == psutil.STATUS_STOPPED, timeout=60, what="a frozen worker")
        return next(run for run in self._runs() if run.pid == worker.pid)

    def _runs(self) -> list[Any]:
        return self.rows(
            "SELECT beat.pid, job.id AS job_id, job.run_epoch AS epoch FROM jobs AS job"
            " JOIN worker_heartbeats AS beat ON beat.current_job_id = job.id"
            "  AND beat.current_run_epoch = job.run_epoch"
            " WHERE job.status = 'in_progress'"
            " ORDER BY job.started_at DESC"
        )
