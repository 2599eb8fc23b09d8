"""Heartbeats: one row per worker, overwritten by each heartbeat."""

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
    """A worker or worker slot. Its id is new for every start, so that a restart never hides a dead run."""

    id: str
    hostname: str | None = field(default_factory=socket.gethostname)
    pid: int | None = field(default_factory=os.getpid)


class Verdict(StrEnum):
    """The answer to a heartbeat: whether the run still counts."""

    GO_ON = "go_on"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"


def say(worker: Worker, job_id: UUID | None = None, run_epoch: int | None = None) -> None:
    """Write the worker's row: alive, and running this run or nothing.

    Update first and insert only when the row is absent: an existing table may have no unique key on ``worker_id``.
    """
    fields = {"current_job_id": job_id, "current_run_epoch": run_epoch, "last_heartbeat": Now()}
    silence = {"metadata": _with_silence(job_id, run_epoch)}
    if WorkerHeartbeat.objects.filter(worker_id=worker.id).update(**fields, **silence):
        return
    row = WorkerHeartbeat(
        worker_id=worker.id,
        started_at=Now(),
        hostname=worker.hostname,
        pid=worker.pid,
        metadata=PROTOCOL,
        **fields,
    )
    WorkerHeartbeat.objects.bulk_create([row], ignore_conflicts=True)


def _with_silence(job_id: UUID | None, run_epoch: int | None) -> Combinable:
    """Return the row's metadata with the longest silence of its run; 0 when this heartbeat names another run."""
    if job_id is None:
        return F("metadata")
    goes_on = When(current_job_id=job_id, current_run_epoch=run_epoch, then=_longest())
    return Func(
        Case(goes_on, default=Value(0.0)),
        template="metadata || jsonb_build_object('longest_silence', %(expressions)s)",
    )


def _longest() -> Greatest:
    """Return the longest silence in seconds, including the current one."""
    so_far = Cast(KeyTextTransform("longest_silence", "metadata"), FloatField())
    gap = ExpressionWrapper(Now() - F("last_heartbeat"), DurationField())
    # GREATEST ignores nulls.
    return Greatest(so_far, Cast(Extract(gap, "epoch"), FloatField()))


def longest_silence(worker: Worker, job_id: UUID, run_epoch: int) -> float | None:
    """Return the longest silence of this run in seconds; None when its worker's row names another run."""
    row = WorkerHeartbeat.objects.filter(
        worker_id=worker.id, current_job_id=job_id, current_run_epoch=run_epoch
    )
    silence: float | None = row.values_list(_longest(), flat=True).first()
    return None if silence is None else round(silence, 1)


def beat(worker: Worker, job_id: UUID, run_epoch: int) -> Verdict:
    """Record that the run is alive, and return whether it should continue. The heartbeat of a superseded run does not count."""
    say(worker, job_id, run_epoch)
    return verdict(job_id, run_epoch)


def verdict(job_id: UUID, run_epoch: int) -> Verdict:
    """Return whether this run still counts."""
    row = Job.objects.filter(pk=job_id, run_epoch=run_epoch).values_list("status", flat=True).first()
    if row == Status.IN_PROGRESS:
        return Verdict.GO_ON
    return Verdict.CANCELLED if row == Status.CANCELLED else Verdict.SUPERSEDED


def leave(worker: Worker) -> None:
    """Delete the row of a worker that ends normally; a killed worker leaves its row behind."""
    WorkerHeartbeat.objects.filter(worker_id=worker.id).delete()
