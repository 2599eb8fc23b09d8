"""The console on a piece of the gallery, in one process: attach, recover what a killed worker left, finish it, look at it.

``python -m tests.attach.console_life NAME``, with DATABASE_URL and OPSCONSOLE_MAPPING set. It ends with an error at the first
thing that is not as the piece's mapping says.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

import django
from django.core.management import call_command

from opsconsole.kit import mapping


def main(name: str) -> None:
    django.setup()
    call_command("migrate", verbosity=0)
    job_id = _left_by_a_killed_worker(name)
    _recover(job_id)
    _complete(job_id)
    _fail_and_requeue()
    _look(job_id)
    sys.stdout.write("lived\n")


def _left_by_a_killed_worker(name: str) -> Any:
    """Let a worker of their kind claim a job and die; make it look as if that had happened a day ago."""
    from jobs.models import Job

    with subprocess.Popen(
        [sys.executable, "-m", "tests.attach.foreign_worker", name, os.environ["DATABASE_URL"]],
        stdout=subprocess.PIPE,
        text=True,
    ) as worker:
        assert worker.stdout
        written = worker.stdout.readline().strip()
        os.kill(worker.pid, signal.SIGKILL)
    job = Job.objects.get(pk=written)
    assert job.status == "in_progress", job.status
    _age(job)
    return job.pk


def _age(job: Any) -> None:
    from datetime import timedelta

    from django.db import connection
    from django.db.models.functions import Now

    from jobs.models import Job, WorkerHeartbeat

    long_ago = Now() - timedelta(days=2)
    times = {"updated_at", "started_at"} - mapping.current().jobs.absent_columns
    Job.objects.filter(pk=job.pk).update(**dict.fromkeys(times, long_ago))
    WorkerHeartbeat.objects.filter(current_job_id=job.pk).update(last_heartbeat=long_ago)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM worker_observations")


def _recover(job_id: Any) -> None:
    from jobs.models import Job, RecoveryControl
    from jobs.recovery.sweeps import sweep

    RecoveryControl.objects.update(mode="armed", cutoff=None, beats_looked_at=None)
    assert Job.objects.stale().filter(pk=job_id).exists()
    assert sweep("command").requeued >= 1
    _is(job_id, "pending", 2)


def _complete(job_id: Any) -> None:
    from jobs.models import Job
    from jobs.runs import heartbeats, lifecycle

    worker = heartbeats.Worker("100")
    claimed = lifecycle.claim(job_id, 2, worker)
    assert isinstance(claimed, Job), claimed
    _is(job_id, "in_progress", 2)
    assert lifecycle.complete(lifecycle.Run(job_id, 2, worker))
    _is(job_id, "completed", 2)


def _fail_and_requeue() -> None:
    from jobs.models import Job, Status
    from jobs.operations import job_operations
    from jobs.operations.steps import JobAction
    from jobs.runs import heartbeats, lifecycle
    from jobs.runs.timeline import Actor

    worker = heartbeats.Worker("100")
    waiting = Job.objects.filter(status=Status.PENDING).first()
    assert waiting
    assert isinstance(lifecycle.claim(waiting.pk, None, worker), Job)
    run = lifecycle.Run(waiting.pk, waiting.run_epoch, worker)
    if mapping.current().jobs.written(mapping.FAILED) is None:
        return
    assert lifecycle.fail(run, "no", retryable=False) == lifecycle.Failure.FAILED
    _is(waiting.pk, "failed", waiting.run_epoch)
    steps = job_operations.plan(JobAction.REQUEUE, [waiting.pk])
    [outcome] = job_operations.carry_out(steps, Actor("operator:ada"), "because")
    _is(waiting.pk, "pending", waiting.run_epoch + 1, why=outcome)


def _look(job_id: Any) -> None:
    """Open the pages, and ask the commands."""
    from django.contrib.auth import get_user_model
    from django.test import Client

    client = Client(headers={"host": "localhost"})
    client.force_login(get_user_model().objects.create_superuser("ada", "", "x"))
    for page in ("", f"{job_id}/change/", f"?q={job_id}", "?status=failed", "?status=pending"):
        assert client.get(f"/admin/jobs/job/{page}", secure=True).status_code == 200, page
    assert client.get("/admin/", secure=True).status_code == 200
    call_command("recover_stale_jobs", dry_run=True)


def _is(job_id: Any, status: str, epoch: int, why: object = "") -> None:
    """Check the status that the console reads, and the word in their column."""
    from django.db import connection

    from jobs.models import Job

    job = Job.objects.get(pk=job_id)
    assert (job.status, job.run_epoch) == (status, epoch), (job.status, job.run_epoch, why)
    jobs = mapping.current().jobs
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {jobs.sql_column('status')}::text FROM {jobs.sql} WHERE {jobs.sql_column('id')}::text = %s",
            [str(job_id)],
        )
        assert cursor.fetchone() == (jobs.written(status),)


if __name__ == "__main__":
    main(*sys.argv[1:])
