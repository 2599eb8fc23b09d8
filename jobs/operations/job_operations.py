"""Operations on jobs by a person: planned from what was seen, carried out only if that is still true (I4, I10)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, transaction
from django.db.models import TextChoices
from django.db.models.functions import Now

from jobs.letter_ledger.settlement import follow_requeues
from jobs.messaging import outbox
from jobs.models import Job, JobEvent, Outbox, Status
from jobs.models.job import JobQuerySet, JobWithEvidence
from jobs.runs import timeline
from jobs.runs.diagnosis import Reason, diagnose
from jobs.runs.restart import restart
from jobs.runs.timeline import Actor
from opsconsole.kit import reasons
from opsconsole.kit.counting import exactly
from opsconsole.kit.durations import spell
from opsconsole.kit.errors import OpsConsoleError, first_line
from opsconsole.kit.row_locks import locked

KEPT = "on each job's timeline"

# The columns that deciding and writing need; payloads can be large.
_READ_OF_A_JOB = (
    "status", "queue", "worker_id", "run_epoch", "claimed_epoch", "recovery_count", "updated_at", "started_at",
    "deadline_at",
)  # fmt: skip


class OperationRefused(OpsConsoleError):
    """An operation can't be started; the message says what is missing."""


class JobAction(TextChoices):
    REQUEUE = "requeue", "requeue"
    CANCEL = "cancel", "cancel"
    RELEASE = "release", "release from quarantine"


@dataclass(frozen=True)
class Step:
    """What will happen to one job, frozen with what was seen of it. ``will`` False: it is skipped.

    ``seen_reason`` is the diagnosis at that time ('' for none): an operator who saw a dead worker has not
    decided about a worker that is alive. ``jobs.dead_letters.operations`` makes the same kind of steps.
    """

    job_id: UUID
    action: str
    seen_status: str
    seen_epoch: int
    seen_reason: str
    will: bool
    sentence: str


@dataclass(frozen=True)
class Outcome:
    """The outcome for one job. ``failed``: it should have been done, but the database refused it."""

    job_id: UUID
    done: bool
    sentence: str
    failed: bool = False

    @classmethod
    def of_refusal(cls, step: Step, error: DatabaseError) -> Outcome:
        """Return the outcome for a job or letter whose change the database refused."""
        sentence = f"The database refused it, nothing was changed: {first_line(error)}"
        return cls(step.job_id, done=False, sentence=sentence, failed=True)


@dataclass(frozen=True)
class _Decision:
    """Who does it, why, and further details for the timeline."""

    actor: Actor
    reason: str
    details: dict[str, Any]


def plan(action: JobAction, job_ids: Iterable[UUID]) -> list[Step]:
    """Return what the action would do to each of these jobs, in the given order, without unknown ids."""
    wanted = list(job_ids)
    found = _with_evidence(wanted)
    return [step_for(action, found[job_id]) for job_id in wanted if job_id in found]


def _with_evidence(job_ids: Sequence[UUID]) -> dict[UUID, JobWithEvidence]:
    jobs = Job.objects.with_evidence().only(*_READ_OF_A_JOB).filter(pk__in=job_ids)
    return {job.pk: job for job in jobs}


def step_for(action: str, job: JobWithEvidence) -> Step:
    """Return the decision for one job that was loaded by ``with_evidence()``. Pure."""
    will, sentence = _JUDGES[action](job)
    reason = diagnose(job).reason or ""
    return Step(job.pk, action, job.status, job.run_epoch, str(reason), will, sentence)


def _judge_requeue(job: JobWithEvidence) -> tuple[bool, str]:
    again = f"Will wait for run {job.run_epoch + 1}{_sending(job)}"
    if job.status == Status.IN_PROGRESS:
        return _judge_requeue_of_running(job, again)
    if job.status == Status.CANCELLED and job.beat_at and job.beat_at >= job.stale_before:
        ago = spell(job.read_at - job.beat_at)
        return (
            False,
            f"Its worker still sent a heartbeat for the cancelled run {ago} ago. Wait until it has stopped.",
        )
    if job.status in {Status.FAILED, Status.CANCELLED}:
        return True, again
    if job.status == Status.QUARANTINED:
        return False, "It is quarantined. Release it instead."
    return False, "It is already waiting." if job.status == Status.PENDING else _left_alone(job)


def _sending(job: JobWithEvidence) -> str:
    if job.queue in settings.QUEUES:
        return ", and its message will be sent."
    return f". Its message will be sent once its queue '{job.queue}' is configured."


def _judge_requeue_of_running(job: JobWithEvidence, again: str) -> tuple[bool, str]:
    diagnosis = diagnose(job)
    if diagnosis.stale or diagnosis.reason == Reason.HUNG:
        return True, f"{diagnosis.sentence} {again} Anything the old run still reports will be refused."
    return False, f"{diagnosis.sentence} Cancel it first if it must not continue."


def _judge_cancel(job: JobWithEvidence) -> tuple[bool, str]:
    if job.status == Status.PENDING:
        return True, "Will not run."
    if job.status == Status.IN_PROGRESS and job.claimed_epoch is None:
        return True, "Its worker cannot be told to stop. If it finishes, its result is kept."
    if job.status == Status.IN_PROGRESS and diagnose(job).stale:
        return (
            True,
            "Its worker no longer sends heartbeats for it. If it does again, it will be told to stop; its result will be refused.",
        )
    if job.status == Status.IN_PROGRESS:
        return (
            True,
            f"Worker {job.worker_id} will be told with its next heartbeat, and its result will be refused.",
        )
    return False, _left_alone(job)


def _judge_release(job: JobWithEvidence) -> tuple[bool, str]:
    if job.status == Status.QUARANTINED:
        forgiven = exactly(job.recovery_count, "recovery", "recoveries")
        return True, f"Will wait for run {job.run_epoch + 1}{_sending(job)} {forgiven} will be forgiven."
    return False, _left_alone(job)


def _left_alone(job: JobWithEvidence) -> str:
    if job.status in Status.values:
        return f"It is {Status(job.status).label.lower()}: nothing to do."
    return f"Its status '{job.status}' is not known to the console, so it is left alone."


_JUDGES: dict[str, Callable[[JobWithEvidence], tuple[bool, str]]] = {
    JobAction.REQUEUE: _judge_requeue,
    JobAction.CANCEL: _judge_cancel,
    JobAction.RELEASE: _judge_release,
}


def carry_out(
    steps: Sequence[Step], actor: Actor, reason: str, *, details: Mapping[str, Any] | None = None
) -> list[Outcome]:
    """Carry out the plan on each job that is still as it was seen; return the outcomes in the order of the steps.

    Everything is one transaction. When the database refuses it, each job gets a separate transaction, so that a row
    that can't be written fails alone. ``details`` are stored with each event. Raise ``OperationRefused`` without a
    reason.
    """
    reason = reasons.required(reason, OperationRefused, KEPT)
    decision = _Decision(actor, reason, dict(details or {}))
    try:
        return _together(steps, decision)
    except DatabaseError:
        return [_alone(step, decision) for step in steps]


def _alone(step: Step, decision: _Decision) -> Outcome:
    try:
        return _together([step], decision)[0]
    except DatabaseError as error:
        return Outcome.of_refusal(step, error)


def _together(steps: Sequence[Step], decision: _Decision) -> list[Outcome]:
    left = {step.job_id: step.sentence for step in steps if not step.will}
    wanted = [step for step in steps if step.will]
    written: dict[UUID, str] = {}
    with transaction.atomic():
        # Lock first, then look again on a newer snapshot: a heartbeat or a result in between wins (I3).
        found = _lock([step.job_id for step in wanted])
        same = [step for step in wanted if found.get(step.job_id) == (step.seen_status, step.seen_epoch)]
        jobs = _with_evidence([step.job_id for step in same])
        kept = {step.job_id: _second_thought(step, jobs[step.job_id]) for step in same}
        left |= {job_id: why for job_id, why in kept.items() if why}
        for action, write in _WRITES.items():
            chosen = [jobs[step.job_id] for step in same if step.action == action and not kept[step.job_id]]
            written |= write(chosen, decision) if chosen else {}
    left |= {step.job_id: _changed(found.get(step.job_id)) for step in wanted if step.job_id not in jobs}
    return [
        Outcome(step.job_id, done=step.job_id in written, sentence=(written | left)[step.job_id])
        for step in steps
    ]


def _lock(job_ids: Sequence[UUID]) -> dict[UUID, tuple[str, int]]:
    """Lock these jobs until the transaction ends, and return their status and epoch."""
    # Always in the same order, so that two operations on the same jobs can't deadlock.
    rows = locked(Job.objects.filter(pk__in=job_ids).order_by("pk"))
    return {pk: (status, epoch) for pk, status, epoch in rows.values_list("pk", "status", "run_epoch")}


def _second_thought(step: Step, job: JobWithEvidence) -> str:
    """Return why a job that has not changed is skipped nevertheless, or ''."""
    again = step_for(step.action, job)
    if not again.will:
        return again.sentence
    return diagnose(job).sentence if _worker_proved_alive(step, again) else ""


def _worker_proved_alive(step: Step, again: Step) -> bool:
    return step.action == JobAction.REQUEUE and step.seen_reason != again.seen_reason == Reason.HUNG


def _changed(now: tuple[str, int] | None) -> str:
    if now is None:
        return "It no longer exists in the database."
    return f"It changed in the meantime: now {now[0]}, run {now[1]}."


def _requeue(jobs: Sequence[Job], decision: _Decision) -> dict[UUID, str]:
    restart(_locked(jobs), attempts=0)
    return _send_again(jobs, JobEvent.Kind.REQUEUED, decision)


def _release(jobs: Sequence[Job], decision: _Decision) -> dict[UUID, str]:
    restart(_locked(jobs), recovery_count=0, attempts=0)
    return _send_again(jobs, JobEvent.Kind.RELEASED, decision)


def _locked(jobs: Sequence[Job]) -> JobQuerySet:
    return Job.objects.filter(pk__in=[job.pk for job in jobs])


def _send_again(jobs: Sequence[Job], kind: JobEvent.Kind, decision: _Decision) -> dict[UUID, str]:
    Outbox.objects.bulk_create(
        Outbox(
            job_id=job.pk,
            run_epoch=job.run_epoch + 1,
            queue=job.queue,
            reason=outbox.OPERATOR_REQUEUE,
            retry=True,
        )
        for job in jobs
    )
    timeline.record_all(
        timeline.event(
            job.pk,
            kind,
            run_epoch=job.run_epoch + 1,
            actor=decision.actor,
            reason=decision.reason,
            details={"from_status": job.status, "from_epoch": job.run_epoch, "worker": job.worker_id}
            | decision.details,
        )
        for job in jobs
    )
    epochs = {job.pk: job.run_epoch + 1 for job in jobs}
    follow_requeues(epochs, decision.actor, decision.reason)
    return {job_id: f"Waits for run {epoch}." for job_id, epoch in epochs.items()}


def _cancel(jobs: Sequence[Job], decision: _Decision) -> dict[UUID, str]:
    _locked(jobs).update(status=Status.CANCELLED, completed_at=None, updated_at=Now())
    timeline.record_all(
        timeline.event(
            job.pk,
            JobEvent.Kind.CANCELLED,
            run_epoch=job.run_epoch,
            actor=decision.actor,
            reason=decision.reason,
            details={"from_status": job.status, "worker": job.worker_id} | decision.details,
        )
        for job in jobs
    )
    return {job.pk: "Cancelled." for job in jobs}


_WRITES: dict[JobAction, Callable[[Sequence[Job], _Decision], dict[UUID, str]]] = {
    JobAction.REQUEUE: _requeue,
    JobAction.RELEASE: _release,
    JobAction.CANCEL: _cancel,
}
