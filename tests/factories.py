"""Rows for tests, made as the outside would have left them; ages are counted back by the database's clock."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models.functions import Now

from jobs.models import Job, Outbox, Status, WorkerHeartbeat

SECOND = timedelta(seconds=1)


def job(**fields: Any) -> Job:
    """A pending job, stored and read back."""
    made = Job.objects.create(**{"customer_id": "TEST-001", "package_size": 50} | fields)
    return Job.objects.get(pk=made.pk)


def run(
    *,
    age: timedelta = timedelta(0),
    silent: timedelta | None = None,
    worker: str = "worker-1",
    epoch: int = 1,
    claimed: bool = True,
    **fields: Any,
) -> Job:
    """A run that began ``age`` ago and whose worker last beat ``silent`` ago (None: it never beat)."""
    made = job(
        status=Status.IN_PROGRESS,
        run_epoch=epoch,
        claimed_epoch=epoch if claimed else None,
        worker_id=worker if claimed else None,
        started_at=Now() - age,
        updated_at=Now() - age,
        **fields,
    )
    if silent is not None:
        beat(worker, made.pk, epoch if claimed else None, ago=silent)
    return made


def beat(
    worker: str, job_id: UUID | None = None, epoch: int | None = None, *, ago: timedelta = timedelta(0)
) -> None:
    """The row of a worker that beat ``ago``, of our protocol when it names an epoch."""
    WorkerHeartbeat.objects.update_or_create(
        worker_id=worker,
        defaults={
            "current_job_id": job_id,
            "current_run_epoch": epoch,
            "last_heartbeat": Now() - ago,
            "metadata": {"protocol": 1} if epoch else {},
        },
    )


def letter(of: Job, *, due: timedelta = timedelta(0), **fields: Any) -> Outbox:
    """The outbox row of a job's current run, due since ``due`` ago."""
    about = {"job": of, "run_epoch": of.run_epoch, "queue": of.queue, "available_at": Now() - due}
    made = Outbox.objects.create(**about | fields)
    return Outbox.objects.get(pk=made.pk)
