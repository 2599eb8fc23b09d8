"""A worker over the HTTP API as a process: killed in the middle of a run, and at work while the console hangs and is restarted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from django.db.models import F

from jobs.intake.enqueue import NewJob, enqueue
from jobs.messaging import dispatcher
from jobs.models import Job, JobEvent, RecoveryControl, RunProgress, Status, WorkerHeartbeat
from jobs.recovery import control, sweeps
from jobs.runs.timeline import Actor
from tests import factories, presets
from tests.clients.relay import relay
from tests.conftest import TestQueue
from tests.keys import key
from tests.programs import program
from tests.repository import REPOSITORY
from tests.serving import gunicorn
from tests.waiting import wait_until

START_SECONDS = 60.0
HANDLER = """
import sys, threading
from pathlib import Path

def submit(run):
    run.note("begun", reference=str(run.job.id))
    last = run.last_progress
    run.progress(30 * run.job.epoch, "begun")
    while not Path(run.job.payload["gate"]).exists():
        threading.Event().wait(0.02)
    of_the_console = sorted({"django", "opsconsole", "jobs"} & sys.modules.keys())
    return {"of the console": of_the_console, "received": last and [last.percent, last.text, last.epoch]}
"""


@contextmanager
def worker(folder: Path, env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the worker for one run. It reports to the API, although its environment names a database of the shop's."""
    command = [
        sys.executable,
        "-m",
        "opsconsole_worker",
        "--http",
        "--handler",
        "shop.submit",
        "--max-jobs",
        "1",
    ]
    with (
        log.open("ab") as lines,
        program(command, cwd=folder, env=env, stdout=lines, stderr=lines) as process,
    ):
        yield process


def console(folder: Path, queue: TestQueue) -> AbstractContextManager[int]:
    """Serve the console; return its port."""
    urls = {"SQS_QUEUE_URL": queue.url, "SQS_DLQ_URL": queue.dlq_url}
    return gunicorn(folder, "--workers", "1", "--graceful-timeout", "1", **urls)


@pytest.mark.django_db(transaction=True)
def test_killed_worker_is_recovered_once_and_its_successor_outlasts_the_console(
    limiter: None, sqs_queue: TestQueue, tmp_path: Path
) -> None:
    presets.write()
    RecoveryControl.objects.get_or_create(pk=1)  # Other tests empty all tables.
    control.arm(Actor.operator("ada", None), "tests", cutoff=None)
    gate, log, secret = tmp_path / "gate", tmp_path / "log", tmp_path / "key"
    (tmp_path / "shop.py").write_text(HANDLER)
    secret.write_text(key("workers", ["worker"])[1] + "\n")
    kept = {
        name: os.environ[name] for name in os.environ if name.startswith(("AWS_", "PATH", "HOME", "LANG"))
    }
    env = kept | {
        "PYTHONPATH": f"{tmp_path}:{REPOSITORY / 'clients' / 'python' / 'src'}",
        "DATABASE_URL": "postgres://shop@shop.invalid/shop",
        "OPSCONSOLE_KEY_FILE": str(secret),
        "SQS_QUEUE_URL": sqs_queue.url,
        "SQS_DLQ_URL": sqs_queue.dlq_url,
        "OPSCONSOLE_BEAT_INTERVAL_SECONDS": "1",
    }
    job = enqueue(NewJob(customer_id="TEST-001", package_size=50, payload={"gate": str(gate)}))
    assert dispatcher.dispatch().sent == 1

    with ExitStack() as first, relay(first.enter_context(console(tmp_path, sqs_queue))) as between:
        env |= {"OPSCONSOLE_URL": between.address}
        with worker(tmp_path, env, log) as process:
            wait_until(lambda: RunProgress.objects.exists() or process.poll() is not None, START_SECONDS)
            assert process.poll() is None, log.read_text()
            process.kill()
            assert process.wait() == -signal.SIGKILL
        assert Job.objects.get(pk=job.pk).status == Status.IN_PROGRESS

        long = timedelta(hours=1)
        WorkerHeartbeat.objects.update(last_heartbeat=F("last_heartbeat") - long)
        Job.objects.update(started_at=F("started_at") - long, updated_at=F("updated_at") - long)
        factories.forget_looks()
        assert [sweeps.sweep("test").requeued for _ in range(3)] == [1, 0, 0]
        assert dispatcher.dispatch().sent == 1

        with worker(tmp_path, env, log) as process:
            wait_until(lambda: RunProgress.objects.count() == 2, START_SECONDS, what=str(log))
            # The console hangs, then it is gone, then another one is there.
            between.silent.set()
            asked = between.requests
            gate.touch()
            wait_until(lambda: between.requests > asked, START_SECONDS)
            first.close()
            with console(tmp_path, sqs_queue) as port:
                between.target_port = port
                between.silent.clear()
                assert process.wait(START_SECONDS) == 0, log.read_text()

    done = Job.objects.get(pk=job.pk)
    assert (done.status, done.run_epoch, done.recovery_count) == (Status.COMPLETED, 2, 1), log.read_text()
    assert [kind for kind in kinds(job) if kind != "progress"][-4:] == [
        "claimed",
        "recovered",
        "claimed",
        "completed",
    ]
    details = JobEvent.objects.get(job_id=job.pk, kind="completed").details
    assert details["of the console"] == []
    assert details["received"] == [30, "begun", 1]
    told = log.read_text()
    assert "The console does not answer, trying again: " in told
    assert "The console answers again" in told
    assert secret.read_text().strip() not in told
    assert sqs_queue.bodies() == []


def kinds(job: Job) -> list[str]:
    return list(JobEvent.objects.filter(job_id=job.pk).order_by("id").values_list("kind", flat=True))
