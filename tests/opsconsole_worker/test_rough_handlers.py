"""A worker as a process, whose handlers end the program, fork, and leave threads: what the row, the log and the exit code say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import connection

from jobs.intake.enqueue import NewJob, enqueue
from jobs.messaging import dispatcher
from jobs.models import Job, JobEvent, RecoveryControl, Status, WorkerHeartbeat
from tests.conftest import TestQueue
from tests.programs import program
from tests.repository import REPOSITORY
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

HANDLER = """
import os, sys, threading

def submit(run):
    do = run.job.payload["do"]
    if do == "exit":
        sys.exit(3)
    if do.startswith("fork"):
        child = os.fork()
        if not child:
            if do == "fork and return":
                return {"by": "the child"}
            if do == "fork and raise":
                raise ValueError("of the child")
            sys.exit(7)
        return {"by": "the parent", "child": os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}
    threading.Thread(target=threading.Event().wait, name="upload").start()
"""


@contextmanager
def worker(folder: Path, queue: TestQueue) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    (folder / "shop.py").write_text(HANDLER)
    described, log = connection.settings_dict, folder / "log"
    kept = {name: os.environ[name] for name in os.environ if name.startswith(("AWS_", "PATH", "HOME"))}
    env = kept | {
        "PYTHONPATH": f"{folder}:{REPOSITORY / 'clients' / 'python' / 'src'}",
        "DATABASE_URL": f"postgres://{described['USER']}@/{described['NAME']}"
        f"?host={described['HOST'].replace('/', '%2F')}",
        "SQS_QUEUE_URL": queue.url,
        "SQS_DLQ_URL": queue.dlq_url,
    }
    command = [sys.executable, "-m", "opsconsole_worker", "--handler", "shop.submit"]
    with (
        log.open("ab") as lines,
        program(command, cwd=folder, env=env, stdout=lines, stderr=lines) as process,
    ):
        yield process, log


@pytest.fixture(autouse=True)
def _surroundings(limiter: None) -> None:
    RecoveryControl.objects.get_or_create(pk=1)  # Other tests empty all tables.


def enqueued(do: str) -> Job:
    job = enqueue(NewJob(customer_id="TEST-001", package_size=50, payload={"do": do}))
    assert dispatcher.dispatch().sent == 1
    return job


def status_of(job: Job) -> str:
    return Job.objects.values_list("status", flat=True).get(pk=job.pk)


def test_exit_of_a_handler_ends_the_worker_after_its_report(sqs_queue: TestQueue, tmp_path: Path) -> None:
    job = enqueued("exit")
    with worker(tmp_path, sqs_queue) as (process, log):
        assert process.wait(60) == 3, log.read_text()
    job.refresh_from_db()
    assert (job.status, job.attempts, job.error_message) == (Status.PENDING, 1, "SystemExit: 3")
    assert "A handler ended this worker: SystemExit(3)" in log.read_text()
    assert not WorkerHeartbeat.objects.exists()


def test_forked_process_that_comes_back_is_no_second_worker(sqs_queue: TestQueue, tmp_path: Path) -> None:
    codes = {"fork and return": 0, "fork and raise": 1, "fork and exit": 7}
    jobs = {do: enqueued(do) for do in codes}
    with worker(tmp_path, sqs_queue) as (process, log):
        wait_until(lambda: not Job.objects.exclude(status=Status.COMPLETED).exists(), 60, what=str(log))
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, log.read_text()
    for do, job in jobs.items():
        details = JobEvent.objects.get(job_id=job.pk, kind="completed").details
        assert (details["by"], details["child"]) == ("the parent", codes[do])
    assert not JobEvent.objects.filter(kind="late_result_rejected").exists()
    assert "ValueError: of the child" in log.read_text()
    assert not WorkerHeartbeat.objects.exists()


def test_threads_that_handlers_left_are_named_when_they_hold_up_the_end(
    sqs_queue: TestQueue, tmp_path: Path
) -> None:
    job = enqueued("leave a thread")
    with worker(tmp_path, sqs_queue) as (process, log):
        wait_until(lambda: status_of(job) == Status.COMPLETED, 60, what=str(log))
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: "the threads that handlers left have ended: upload." in log.read_text(), 30)
        assert not WorkerHeartbeat.objects.exists()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == -signal.SIGTERM
