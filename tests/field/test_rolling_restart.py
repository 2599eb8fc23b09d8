"""A rolling restart under load: web, dispatcher and worker are replaced one by one while jobs and requests flow.

``make drill-upgrade`` sets ROLLING=run_cluster, so that whole clusters take the dispatchers' place.
"""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from tests.conftest import TestQueue
from tests.field.conftest import production, roles
from tests.field.console import Console
from tests.field.proxy import HOST
from tests.programs import program
from tests.repository import REPOSITORY
from tests.serving import answers, free_port
from tests.waiting import wait_until

if TYPE_CHECKING:
    from tests.databases import Database

SENDER = os.environ.get("ROLLING", "dispatch_outbox --loop").split()
WORKER = ["run_worker", "--handler", "tests.chaos.handlers.work"]
WEB = ["--config", "python:opsconsole.serving", "--workers", "1", "--access-logfile", "-"]
# As producers do: the job and its message in one transaction.
CREATE = """WITH made AS (INSERT INTO jobs (customer_id, package_size) VALUES ('c-1', 0) RETURNING id)
INSERT INTO outbox (job_id, run_epoch, queue, available_at) SELECT id, 1, 'default', now() FROM made"""
MADE, DONE = "SELECT count(*) FROM jobs", "SELECT count(*) FROM jobs WHERE status = 'completed'"


class Load:
    """Creates jobs and asks for pages until it is stopped, each request on a connection of its own."""

    def __init__(self, database: Database, port: int) -> None:
        self.database = database
        self.port = port
        self.answers: Counter[str] = Counter()
        self.stopped = threading.Event()
        self.threads = [threading.Thread(target=each) for each in (self._create, self._ask)]

    def _create(self) -> None:
        with self.database.connect() as connection:
            while not self.stopped.wait(0.4):
                connection.execute(CREATE)

    def _ask(self) -> None:
        while not self.stopped.wait(0.1):
            client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            try:
                client.request("GET", "/admin/login/", headers={"Host": HOST, "X-Forwarded-Proto": "https"})
                response = client.getresponse()
                whole = b"</html>" in response.read()
                self.answers[f"{response.status} {'whole' if whole else 'cut'}"] += 1
            except (OSError, http.client.HTTPException) as error:
                self.answers[repr(error)] += 1
            finally:
                client.close()

    def __enter__(self) -> Self:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        for thread in self.threads:
            thread.join(90)


@pytest.fixture
def rolled(database: Database, sqs_queue: TestQueue, static_folder: Path, tmp_path: Path) -> Console:
    queues = {"SQS_QUEUE_URL": sqs_queue.url, "SQS_DLQ_URL": sqs_queue.dlq_url}
    return Console(tmp_path, database, production(static_folder) | roles(database) | queues)


@contextmanager
def started(console: Console, name: str, words: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    with (
        (console.folder / f"{name}.log").open("wb") as log,
        program(
            [sys.executable, *words],
            cwd=REPOSITORY,
            env=os.environ | dict(console.environment),
            stdout=log,
            stderr=log,
            end_signal=signal.SIGTERM,
        ) as process,
    ):
        yield process


def replaced(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    assert process.wait(180) == 0


def test_nothing_is_lost_while_everything_is_restarted(rolled: Console) -> None:
    database, port = rolled.database, free_port()

    def completed(more: int) -> None:
        """Wait until more jobs are completed than now."""
        wanted = database.value(DONE) + more
        wait_until(lambda: database.value(DONE) >= wanted, timeout=120, what=f"jobs: {rolled.folder}")

    with ExitStack() as programs:

        def start(name: str, *words: str) -> subprocess.Popen[bytes]:
            return programs.enter_context(started(rolled, name, ["manage.py", *words]))

        bound = ["-m", "gunicorn", *WEB, "--bind", f"127.0.0.1:{port}"]
        web = programs.enter_context(started(rolled, "web", bound))
        sender, worker = start("sender", *SENDER), start("worker", *WORKER)
        wait_until(lambda: answers(port), timeout=120, what="web")
        with Load(database, port) as load:
            completed(3)
            web.send_signal(signal.SIGHUP)
            log = rolled.folder / "web.log"
            wait_until(lambda: log.read_text().count("Booting worker") == 2, timeout=120, what=str(log))
            wait_until(lambda: "Worker exiting" in log.read_text(), timeout=120, what=str(log))
            second = start("sender-2", *SENDER)
            replaced(sender)
            completed(3)
            start("worker-2", *WORKER)
            replaced(worker)
            completed(3)
        wait_until(lambda: database.value(DONE) == database.value(MADE), timeout=120, what="the last jobs")
        assert second.poll() is None and web.poll() is None
    assert set(load.answers) == {"200 whole"}, load.answers
    # No job ran twice, and none was recovered.
    assert database.sql("SELECT DISTINCT status, run_epoch FROM jobs") == [("completed", 1)]
    events = database.sql("SELECT job_id FROM job_events WHERE kind = 'completed'")
    assert len(events) == len(set(events)) == database.value(MADE)
