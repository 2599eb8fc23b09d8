"""What a worker says of itself: one row a worker, overwritten by each beat."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

from django.db.models import Case, DurationField, ExpressionWrapper, F, FloatField, Func, Value, When
from django.db.models.expressions import Combinable
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast, Extract, Greatest, Now

from jobs.models import Job, Status, WorkerHeartbeat

PROTOCOL = {"protocol": 1}


@dataclass(frozen=True)
class Worker:
    """A worker or worker slot. Its id is new with every start, so that a restart never hides a dead run."""

    id: str
    hostname: str | None = field(default_factory=socket.gethostname)
    pid: int | None = field(default_factory=os.getpid)


class Verdict(StrEnum):
    """What a worker hears when it beats: whether its work still counts."""

    GO_ON = "go_on"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"


def say(worker: Worker, job_id: UUID | None = None, run_epoch: int | None = None) -> None:
    """Write the worker's row: alive, and running this or nothing.

    Update first, insert only when absent: an existing table may have no unique key on ``worker_id``.
    """
    said = {"current_job_id": job_id, "current_run_epoch": run_epoch, "last_heartbeat": Now()}
    silence = {"metadata": _with_silence(job_id, run_epoch)}
    if WorkerHeartbeat.objects.filter(worker_id=worker.id).update(**said, **silence):
        return
    row = WorkerHeartbeat(
        worker_id=worker.id,
        started_at=Now(),
        hostname=worker.hostname,
        pid=worker.pid,
        metadata=PROTOCOL,
        **said,
    )
    WorkerHeartbeat.objects.bulk_create([row], ignore_conflicts=True)


def _with_silence(job_id: UUID | None, run_epoch: int | None) -> Combinable:
    """The row's metadata with the longest silence of the run that it names; 0 when this beat names another."""
    if job_id is None:
        return F("metadata")
    goes_on = When(current_job_id=job_id, current_run_epoch=run_epoch, then=_longest())
    return Func(
        Case(goes_on, default=Value(0.0)),
        template="metadata || jsonb_build_object('longest_silence', %(expressions)s)",
    )


def _longest() -> Greatest:
    """In seconds, this silence included."""
    so_far = Cast(KeyTextTransform("longest_silence", "metadata"), FloatField())
    gap = ExpressionWrapper(Now() - F("last_heartbeat"), DurationField())
    # GREATEST passes over what is null.
    return Greatest(so_far, Cast(Extract(gap, "epoch"), FloatField()))


def longest_silence(worker: Worker, job_id: UUID, run_epoch: int) -> float | None:
    """For how long this run was silent at most until now, in seconds; None when its worker's row names another."""
    row = WorkerHeartbeat.objects.filter(
        worker_id=worker.id, current_job_id=job_id, current_run_epoch=run_epoch
    )
    found: float | None = row.values_list(_longest(), flat=True).first()
    return None if found is None else round(found, 1)


def beat(worker: Worker, job_id: UUID, run_epoch: int) -> Verdict:
    """Say that the run is alive, and hear whether it should go on. A superseded run's beat counts for nothing."""
    say(worker, job_id, run_epoch)
    return verdict(job_id, run_epoch)


def verdict(job_id: UUID, run_epoch: int) -> Verdict:
    """Whether this run is still the one that counts."""
    row = Job.objects.filter(pk=job_id, run_epoch=run_epoch).values_list("status", flat=True).first()
    if row == Status.IN_PROGRESS:
        return Verdict.GO_ON
    return Verdict.CANCELLED if row == Status.CANCELLED else Verdict.SUPERSEDED


def leave(worker: Worker) -> None:
    """Take the row of a worker that ends in peace away; a killed one leaves its row behind."""
    WorkerHeartbeat.objects.filter(worker_id=worker.id).delete()
