"""What an operator may do to jobs: planned from what was seen, carried out only on what is still so (I4, I10)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import TextChoices
from django.db.models.functions import Now

from jobs import outbox
from jobs.dead_letters.following import follow_requeue
from jobs.diagnosis import Reason, diagnose
from jobs.lifecycle import restart
from jobs.models import Job, JobEvent, Status
from jobs.timeline import Actor, record
from opsconsole.durations import spell
from opsconsole.errors import OpsConsoleError


class OperationRefused(OpsConsoleError):
    """An operation can't be begun as asked; the message says what is missing."""


class Action(TextChoices):
    REQUEUE = "requeue", "requeue"
    CANCEL = "cancel", "cancel"
    RELEASE = "release", "release from quarantine"


@dataclass(frozen=True)
class Step:
    """What will happen to one job, frozen with what was seen of it; ``will`` False: it is skipped.

    ``seen_reason`` is the diagnosis at that time ('' for none): an operator who saw a dead worker has not
    decided about one that beats.
    """

    job_id: UUID
    action: Action
    seen_status: str
    seen_epoch: int
    seen_reason: str
    will: bool
    sentence: str


@dataclass(frozen=True)
class Outcome:
    job_id: UUID
    done: bool
    sentence: str


def plan(action: Action, job_ids: Iterable[UUID]) -> list[Step]:
    """Say for each of these jobs what the action would do, in the order given. Unknown ids are left out."""
    found = {job.pk: job for job in Job.objects.with_evidence().filter(pk__in=list(job_ids))}
    return [step_for(action, found[job_id]) for job_id in job_ids if job_id in found]


def step_for(action: Action, job: Any) -> Step:
    """The decision for one job that was loaded by ``with_evidence()``. Pure."""
    will, sentence = _JUDGES[action](job)
    reason = diagnose(job).reason or ""
    return Step(job.pk, action, job.status, job.run_epoch, str(reason), will, sentence)


def _judge_requeue(job: Any) -> tuple[bool, str]:
    again = f"Will wait for run {job.run_epoch + 1}, and its message be sent."
    if job.status == Status.IN_PROGRESS:
        return _judge_requeue_of_running(job, again)
    if job.status == Status.CANCELLED and job.beat_at and job.beat_at >= job.stale_before:
        ago = spell(job.read_at - job.beat_at)
        return False, f"Its worker still named the cancelled run {ago} ago: wait until it has stopped."
    if job.status in {Status.FAILED, Status.CANCELLED}:
        return True, again
    if job.status == Status.QUARANTINED:
        return False, "It is quarantined: release it instead."
    return False, "It is waiting already." if job.status == Status.PENDING else _left_alone(job)


def _judge_requeue_of_running(job: Any, again: str) -> tuple[bool, str]:
    diagnosis = diagnose(job)
    if diagnosis.stale or diagnosis.reason == Reason.HUNG:
        return True, f"{diagnosis.sentence} {again} What the old run still reports will be refused."
    return False, f"{diagnosis.sentence} Cancel it first if it must not go on."


def _judge_cancel(job: Any) -> tuple[bool, str]:
    if job.status == Status.PENDING:
        return True, "Will not be run."
    if job.status == Status.IN_PROGRESS and job.claimed_epoch is None:
        return (
            True,
            "Its worker can't be told: it may finish the work, its result will be seen as it writes it.",
        )
    if job.status == Status.IN_PROGRESS:
        return True, f"Worker {job.worker_id} will be told at its next beat; its result will be refused."
    return False, _left_alone(job)


def _judge_release(job: Any) -> tuple[bool, str]:
    if job.status == Status.QUARANTINED:
        return (
            True,
            f"Will wait for run {job.run_epoch + 1} with its {job.recovery_count} recoveries forgiven.",
        )
    return False, _left_alone(job)


def _left_alone(job: Any) -> str:
    if job.status in Status.values:
        return f"It is {Status(job.status).label.lower()}: nothing to do."
    return f"Its status '{job.status}' is not known to the console: it is left alone."


_JUDGES = {
    Action.REQUEUE: _judge_requeue,
    Action.CANCEL: _judge_cancel,
    Action.RELEASE: _judge_release,
}


def carry_out(steps: Sequence[Step], actor: Actor, reason: str) -> list[Outcome]:
    """Do what was planned to each job that is still as it was seen; each in a transaction of its own.

    Raises ``OperationRefused`` without a reason.
    """
    if not reason.strip():
        raise OperationRefused("Give a reason: it is kept on each job's timeline.")
    return [_carry_out(step, actor, reason) for step in steps]


def _carry_out(step: Step, actor: Actor, reason: str) -> Outcome:
    if not step.will:
        return Outcome(step.job_id, done=False, sentence=step.sentence)
    with transaction.atomic():
        seen = Job.objects.filter(pk=step.job_id, status=step.seen_status, run_epoch=step.seen_epoch)
        # The lock first, the second look on a newer snapshot: a beat or a result in between wins (I3).
        if not seen.select_for_update().exists():
            return Outcome(step.job_id, done=False, sentence=_changed(step))
        job = Job.objects.with_evidence().get(pk=step.job_id)
        again = step_for(step.action, job)
        if not again.will:
            return Outcome(step.job_id, done=False, sentence=again.sentence)
        if _worker_proved_alive(step, again):
            return Outcome(step.job_id, done=False, sentence=diagnose(job).sentence)
        return Outcome(step.job_id, done=True, sentence=_WRITES[step.action](job, actor, reason))


def _worker_proved_alive(step: Step, again: Step) -> bool:
    return step.action == Action.REQUEUE and step.seen_reason != again.seen_reason == Reason.HUNG


def _changed(step: Step) -> str:
    now = Job.objects.filter(pk=step.job_id).values_list("status", "run_epoch").first()
    if now is None:
        return "It is gone from the database."
    return f"It changed meanwhile: now {now[0]}, run {now[1]}."


def _as_seen(job: Job) -> Any:
    return Job.objects.filter(pk=job.pk, status=job.status, run_epoch=job.run_epoch)


def _requeue(job: Job, actor: Actor, reason: str) -> str:
    restart(_as_seen(job), attempts=0)
    return _send_again(job, JobEvent.Kind.REQUEUED, actor, reason)


def _release(job: Job, actor: Actor, reason: str) -> str:
    restart(_as_seen(job), recovery_count=0, attempts=0)
    return _send_again(job, JobEvent.Kind.RELEASED, actor, reason)


def _send_again(job: Job, kind: JobEvent.Kind, actor: Actor, reason: str) -> str:
    epoch = job.run_epoch + 1
    outbox.post(job.pk, epoch, job.queue, reason=outbox.OPERATOR_REQUEUE, retry=True)
    details = {"from_status": job.status, "from_epoch": job.run_epoch, "worker": job.worker_id}
    record(job.pk, kind, run_epoch=epoch, actor=actor, reason=reason, details=details)
    follow_requeue(job.pk, epoch, actor, reason)
    return f"Waits for run {epoch}."


def _cancel(job: Job, actor: Actor, reason: str) -> str:
    _as_seen(job).update(status=Status.CANCELLED, completed_at=None, updated_at=Now())
    details = {"from_status": job.status, "worker": job.worker_id}
    record(
        job.pk,
        JobEvent.Kind.CANCELLED,
        run_epoch=job.run_epoch,
        actor=actor,
        reason=reason,
        details=details,
    )
    return "Cancelled."


_WRITES = {Action.REQUEUE: _requeue, Action.RELEASE: _release, Action.CANCEL: _cancel}
