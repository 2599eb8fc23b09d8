"""The life cycle of a run: claim, progress, completion and failure, each a compare-and-set on the epoch (I1)."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from jobs.messaging import outbox
from jobs.models import Job, JobEvent, Status
from jobs.models.job import JobQuerySet
from jobs.runs import heartbeats
from jobs.runs.heartbeats import Worker
from jobs.runs.restart import restart
from jobs.runs.timeline import EXTERNAL_REDRIVE, Actor, record
from opsconsole.kit.doubling import doubled
from opsconsole.kit.row_locks import locked
from opsconsole.kit.storable import plain_text

LONGEST_BACKOFF = timedelta(hours=1)
ERROR_LENGTH = 10_000


class Refusal(StrEnum):
    """Why a claim was refused. A ``settled`` refusal is final: the message may be deleted."""

    UNKNOWN_JOB = "the job is not in the database (yet)"
    SUPERSEDED = "a later run of the job exists"
    ALREADY_CLAIMED = "the run was claimed before"
    ENDED = "the job is completed or cancelled"
    TOO_EARLY = "the run may not start yet"
    NOT_WAITING = "the job is not waiting for this run"

    @property
    def settled(self) -> bool:
        return self in {Refusal.SUPERSEDED, Refusal.ALREADY_CLAIMED, Refusal.ENDED}


@dataclass(frozen=True)
class Run:
    """One run of a job, by one worker."""

    job_id: UUID
    epoch: int
    worker: Worker


@dataclass(frozen=True)
class Refused:
    refusal: Refusal
    retry_in: timedelta = timedelta(0)


class Failure(StrEnum):
    """The outcome of a reported failure."""

    RETRY = "retry"
    FAILED = "failed"
    REJECTED = "rejected"


def claim(
    job_id: UUID,
    run_epoch: int | None,
    worker: Worker,
    *,
    dead_letter_id: str | None = None,
    asked_before: bool = False,
) -> Job | Refused:
    """Claim the run for this worker, or return why that was refused. Without an epoch, the pending run is meant.

    A message that was redriven from the dead letter queue outside the console restarts its dead job once (I9).
    ``asked_before``: this worker asked before without getting an answer and has begun nothing, so that a run which it
    claimed then is its own.
    """
    with transaction.atomic():
        if dead_letter_id and run_epoch and _revive(job_id, run_epoch):
            run_epoch += 1
        waiting = Job.objects.startable().filter(pk=job_id)
        if run_epoch is not None:
            waiting = waiting.filter(run_epoch=run_epoch)
        if not waiting.update(
            status=Status.IN_PROGRESS,
            claimed_epoch=F("run_epoch"),
            worker_id=worker.id,
            started_at=Now(),
            completed_at=None,
            updated_at=Now(),
        ):
            won = _won_unheard(job_id, run_epoch, worker, dead_letter_id) if asked_before else None
            return won or _refusal(job_id, run_epoch)
        job = Job.objects.get(pk=job_id)
        heartbeats.say(worker, job_id, job.run_epoch)
        record(job_id, JobEvent.Kind.CLAIMED, run_epoch=job.run_epoch, actor=Actor.worker(worker.id))
        return job


def _won_unheard(
    job_id: UUID, run_epoch: int | None, worker: Worker, dead_letter_id: str | None
) -> Job | None:
    """Return the run that this worker claimed before its connection broke, and start its heartbeats."""
    mine = _claimed_by(worker).filter(pk=job_id)
    if run_epoch is not None:
        # The claim of a dead letter has raised the epoch itself.
        mine = mine.filter(run_epoch__in=[run_epoch, run_epoch + 1] if dead_letter_id else [run_epoch])
    job = locked(mine).first()
    if job:
        heartbeats.say(worker, job_id, job.run_epoch)
    return job


def _claimed_by(worker: Worker) -> JobQuerySet:
    return Job.objects.running().filter(worker_id=worker.id, claimed_epoch=F("run_epoch"))


def give_back(job_id: UUID, worker: Worker) -> bool:
    """Requeue the run that this worker claimed without getting the answer and can no longer begin.

    Return False when it has claimed none.
    """
    with transaction.atomic():
        job = locked(_claimed_by(worker).filter(pk=job_id)).first()
        if job is None:
            return False
        restart(Job.objects.filter(pk=job_id))
        outbox.post(job_id, job.run_epoch + 1, job.queue, reason=outbox.GIVEN_BACK, retry=True)
        record(
            job_id,
            JobEvent.Kind.REQUEUED,
            run_epoch=job.run_epoch + 1,
            actor=Actor.worker(worker.id),
            reason="Claimed when the connection broke and the worker was told to stop. The run never began.",
        )
        return True


def _revive(job_id: UUID, run_epoch: int) -> bool:
    dead = Job.objects.filter(pk=job_id, run_epoch=run_epoch, status__in=[Status.FAILED, Status.QUARANTINED])
    if not restart(dead, recovery_count=0, attempts=0):
        return False
    record(
        job_id,
        JobEvent.Kind.REQUEUED,
        run_epoch=run_epoch + 1,
        actor=EXTERNAL_REDRIVE,
        reason="Its dead letter was moved back to the queue outside the console.",
    )
    return True


def _refusal(job_id: UUID, run_epoch: int | None) -> Refused:
    job = Job.objects.filter(pk=job_id).annotate(read_at=Now()).first()
    if job is None:
        return Refused(Refusal.UNKNOWN_JOB)
    if job.status in {Status.COMPLETED, Status.CANCELLED}:
        return Refused(Refusal.ENDED)
    if run_epoch is not None and run_epoch < job.run_epoch:
        return Refused(Refusal.SUPERSEDED)
    if job.claimed_epoch == job.run_epoch and run_epoch in {None, job.run_epoch}:
        return Refused(Refusal.ALREADY_CLAIMED)
    if job.status == Status.PENDING and job.not_before and run_epoch in {None, job.run_epoch}:
        return Refused(Refusal.TOO_EARLY, max(job.not_before - job.read_at, timedelta(seconds=1)))
    return Refused(Refusal.NOT_WAITING)


def _running(run: Run) -> JobQuerySet:
    return Job.objects.running().filter(pk=run.job_id, run_epoch=run.epoch)


def complete(run: Run, details: Mapping[str, Any] | None = None) -> bool:
    """Complete the run. Return False when it was superseded or cancelled: the late result is refused and recorded.

    Repeating the call is harmless: a worker does so when the connection broke before the answer.
    """
    with transaction.atomic():
        if not _running(run).update(
            status=Status.COMPLETED, completed_at=Now(), updated_at=Now(), error_message=None
        ):
            return _ended_before(run) == JobEvent.Kind.COMPLETED or _reject_late(run, "completed")
        _tell(run, JobEvent.Kind.COMPLETED, details=dict(details or {}) | _silence(run))
        heartbeats.say(run.worker)
        return True


def fail(run: Run, error: str, *, retryable: bool = True) -> Failure:
    """Record a failure: another run follows after a backoff, or a dead letter when the attempts are used up."""
    error = plain_text(error)[:ERROR_LENGTH]
    with transaction.atomic():
        job = locked(_running(run)).first()
        if job is None:
            if (ending := _ended_before(run)) in _FAILURES:
                return _FAILURES[ending]
            _reject_late(run, "failed", error)
            return Failure.REJECTED
        silence = _silence(run)
        heartbeats.say(run.worker)
        if retryable and job.attempts + 1 < settings.OPSCONSOLE_MAX_ATTEMPTS:
            _retry(run, job, error, silence)
            return Failure.RETRY
        _running(run).update(
            status=Status.FAILED, attempts=F("attempts") + 1, error_message=error, updated_at=Now()
        )
        outbox.post_dead_letter(job.pk, run.epoch, job.queue, reason=error)
        _tell(run, JobEvent.Kind.FAILED, reason=error, details={"retryable": retryable} | silence)
        return Failure.FAILED


def _retry(run: Run, job: Job, error: str, silence: dict[str, float]) -> None:
    delay = backoff(job.attempts + 1)
    restart(_running(run), attempts=F("attempts") + 1, error_message=error, not_before=Now() + delay)
    outbox.post(job.pk, run.epoch + 1, job.queue, reason=outbox.RETRY_AFTER_FAILURE, retry=True, delay=delay)
    _tell(
        run,
        JobEvent.Kind.RETRY_SCHEDULED,
        reason=error,
        details={"next_epoch": run.epoch + 1, "delay_seconds": round(delay.total_seconds(), 1)} | silence,
    )


def _silence(run: Run) -> dict[str, float]:
    """Return the longest silence of the run, for ``jobs.recovery.what_if``."""
    seconds = heartbeats.longest_silence(run.worker, run.job_id, run.epoch)
    return {} if seconds is None else {"longest_silence_seconds": seconds}


def backoff(failures: int) -> timedelta:
    """Return the pause before the next run: doubled per failure, with a jitter of a tenth, at most an hour."""
    first = timedelta(seconds=settings.OPSCONSOLE_RETRY_BACKOFF_SECONDS)
    return doubled(first, failures - 1, LONGEST_BACKOFF) * random.uniform(0.9, 1.1)


def progress(run: Run, note: str, *, reference: str = "") -> bool:
    """Record what the run has done outside (an id, a link), which is shown before anybody requeues it.

    Return False when the run no longer counts; the note is stored nevertheless, as an act of a superseded run.
    """
    details = {"note": plain_text(note), "reference": plain_text(reference)}
    with transaction.atomic():
        current = locked(_running(run)).exists()
        _tell(run, JobEvent.Kind.PROGRESS, details=details | {"late": not current})
        return current


_FAILURES: dict[str, Failure] = {
    JobEvent.Kind.RETRY_SCHEDULED: Failure.RETRY,
    JobEvent.Kind.FAILED: Failure.FAILED,
}


def _ended_before(run: Run) -> str | None:
    """Return how this worker already ended this run. It asks again when the connection broke before our answer."""
    endings = JobEvent.objects.filter(
        job_id=run.job_id,
        run_epoch=run.epoch,
        actor=Actor.worker(run.worker.id).name,
        kind__in=[JobEvent.Kind.COMPLETED, *_FAILURES],
    )
    return endings.values_list("kind", flat=True).first()


def _reject_late(run: Run, tried: str, error: str = "") -> bool:
    status = Job.objects.filter(pk=run.job_id).values_list("status", "run_epoch").first()
    job = {"status": status[0], "epoch": status[1]} if status else {"status": None}
    _tell(
        run,
        JobEvent.Kind.LATE_RESULT_REJECTED,
        reason=error,
        details={"tried": tried, "job": job},
    )
    heartbeats.say(run.worker)
    return False


def _tell(
    run: Run, kind: JobEvent.Kind, *, reason: str = "", details: Mapping[str, Any] | None = None
) -> None:
    actor = Actor.worker(run.worker.id)
    record(run.job_id, kind, run_epoch=run.epoch, actor=actor, reason=reason, details=details)
