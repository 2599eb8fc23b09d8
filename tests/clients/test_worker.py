"""A worker in TypeScript that is killed in the middle of a job: the job is recovered once, and another worker completes it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from django.db.models.functions import Now

from jobs.intake.enqueue import NewJob, enqueue
from jobs.messaging import dispatcher
from jobs.models import Job, JobEvent, RecoveryControl, RunProgress, Status, WorkerHeartbeat
from jobs.recovery import control, sweeps
from jobs.runs.timeline import Actor
from tests import factories, presets
from tests.clients.node import HERE, PACKAGE, make
from tests.conftest import TestQueue
from tests.field.installed import installed
from tests.keys import key
from tests.programs import program
from tests.serving import gunicorn
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

LONG_AGO = timedelta(hours=1)


@contextmanager
def worker(folder: Path, name: str, **environ: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    log = folder / f"{name}.log"
    with (
        log.open("wb") as output,
        program(
            [installed("nodejs"), str(HERE / "worker.mjs")],
            env=os.environ | {"PACKAGE": str(PACKAGE / "dist" / "index.js")} | environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        yield process, log


@pytest.fixture
def reached(limiter: None, sqs_queue: TestQueue, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Serve the console; return what a worker needs to know of it."""
    make("clients")
    presets.write()
    RecoveryControl.objects.get_or_create(pk=1)
    urls = {"SQS_QUEUE_URL": sqs_queue.url, "SQS_DLQ_URL": sqs_queue.dlq_url}
    with gunicorn(tmp_path, **urls) as port:
        yield {
            "OPSCONSOLE_URL": f"http://127.0.0.1:{port}",
            "OPSCONSOLE_KEY": key("workers", ["worker"])[1],
            "QUEUE_URL": sqs_queue.url,
        }


def test_killed_worker_loses_its_job_to_another_exactly_once(
    reached: dict[str, str], sqs_queue: TestQueue, tmp_path: Path
) -> None:
    control.arm(Actor.operator("ada", None), "tests", cutoff=None)
    made = enqueue(NewJob(customer_id="TEST-001", package_size=50, payload={"directory": "maps"}))
    assert dispatcher.dispatch().sent == 1

    with worker(tmp_path, "killed", **reached, HANG="1") as (process, log):
        wait_until(lambda: f"begun {made.pk} 1 maps" in log.read_text(), timeout=60, what=str(log))
        wait_until(lambda: kinds(made).count("progress") and RunProgress.objects.exists(), timeout=60)
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    made.refresh_from_db()
    assert (made.status, made.run_epoch) == (Status.IN_PROGRESS, 1)
    assert WorkerHeartbeat.objects.get().current_job_id == made.pk

    WorkerHeartbeat.objects.update(last_heartbeat=Now() - LONG_AGO)
    Job.objects.update(started_at=Now() - 2 * LONG_AGO, updated_at=Now() - 2 * LONG_AGO)
    factories.forget_looks()
    assert [sweeps.sweep("test").requeued for _ in range(3)] == [1, 0, 0]
    assert dispatcher.dispatch().sent == 1

    with worker(tmp_path, "second", **reached) as (process, log):
        wait_until(lambda: Job.objects.get().status == Status.COMPLETED, timeout=60, what=str(log))
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert log.read_text().split() == ["begun", str(made.pk), "2", "maps", "after", "40.5", "left"]
    made.refresh_from_db()
    assert (made.run_epoch, made.recovery_count) == (2, 1)
    told = kinds(made)
    assert [told.count(kind) for kind in ("claimed", "completed")] == [2, 1], told
    assert JobEvent.objects.get(job_id=made.pk, kind="completed").details["submitted"] == 50
    # The killed one's row is how its death was noticed; the other has left.
    assert [row.current_job_id for row in WorkerHeartbeat.objects.all()] in ([], [made.pk])
    assert sqs_queue.bodies() == []


def kinds(of: Job) -> list[str]:
    return list(JobEvent.objects.filter(job_id=of.pk).order_by("pk").values_list("kind", flat=True))
