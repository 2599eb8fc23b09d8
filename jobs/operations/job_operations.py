"""Operations on jobs by a person: planned from what was seen, carried out only if that is still true (I4, I10)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast
from uuid import UUID

from django.db import DatabaseError, transaction
from django.db.models.functions import Now
from django_stubs_ext import WithAnnotations

from jobs.letter_ledger.settlement import follow_requeues
from jobs.messaging import outbox
from jobs.messaging.outbox import NewMessage
from jobs.models import Job, JobEvent, Status
from jobs.models.columns import JOBS
from jobs.models.event import LOST_WORKER
from jobs.models.job import JobQuerySet, JobWithEvidence
from jobs.operations.steps import (
    JobAction,
    OperationRefused,
    Outcome,
    Record,
    Step,
    tell_refusals,
    unusable,
)
from jobs.operations.verdicts import DECIDING, NEED_EVIDENCE, step_for
from jobs.runs import status_wording, timeline
from jobs.runs.diagnosis import Reason, diagnose
from jobs.runs.restart import restart
from jobs.runs.timeline import Actor, NewEvent
from opsconsole.kit import reasons
from opsconsole.kit.changed_rows import RowKept, require_changed
from opsconsole.kit.db_clock import DbNow
from opsconsole.kit.kept_changes import OutcomeUnknown
from opsconsole.kit.row_locks import WaitBudget

KEPT = "on each job's timeline"

# The columns that deciding and writing need; payloads can be large.
_READ_OF_A_JOB = (
    "status", "queue", "worker_id", "run_epoch", "claimed_epoch", "recovery_count", "updated_at", "started_at",
    "deadline_at",
)  # fmt: skip
JobWithTime: TypeAlias = "WithAnnotations[Job, DbNow]"
_READ_WITH_THE_LOCK = (*DECIDING, "worker_id", "not_before")


@dataclass(frozen=True)
class _Decision:
    """Who does it, why, further details for the timeline, and how long all of it may wait for others.

    ``record``: writes the same elsewhere. ``errors``: by which the database could not be used any more. Then no further job is
    tried.
    """

    actor: Actor
    reason: str
    details: dict[str, Any]
    budget: WaitBudget
    record: Record | None = None
    errors: list[DatabaseError] = field(default_factory=list)


def plan(action: JobAction, job_ids: Iterable[UUID]) -> list[Step]:
    """Return what the action would do to each of these jobs, in the given order, without unknown ids."""
    wanted = list(job_ids)
    found = _with_evidence(wanted)
    return [step_for(action, found[job_id]) for job_id in wanted if job_id in found]


def _with_evidence(job_ids: Sequence[UUID]) -> dict[UUID, JobWithEvidence]:
    jobs = Job.objects.with_evidence().only(*_READ_OF_A_JOB).filter(pk__in=job_ids)
    return {job.pk: job for job in jobs}


def carry_out(
    steps: Sequence[Step],
    actor: Actor,
    reason: str,
    *,
    details: Mapping[str, Any] | None = None,
    budget: WaitBudget | None = None,
    record: Record | None = None,
) -> list[Outcome]:
    """Carry out the plan on each job that is still as it was seen; return the outcomes in the order of the steps.

    Everything is one transaction. When the database refuses it, each job gets a separate transaction, so that a row
    that can't be written fails alone. Jobs that others have locked are left alone when the budget is used up (by default
    ``row_locks.WAIT`` for all of them). ``details`` are stored with each event. ``record`` shares the transaction: a change
    without its record does not exist. Raise ``OperationRefused`` without a reason, and the database's error where it is away or
    read-only and nothing was done.
    """
    reason = reasons.required(reason, OperationRefused, KEPT)
    decision = _Decision(actor, reason, dict(details or {}), budget or WaitBudget(), record)
    outcomes = _outcomes(steps, decision)
    tell_refusals("job", steps, outcomes, actor.name, decision.errors)
    return outcomes


def _outcomes(steps: Sequence[Step], decision: _Decision) -> list[Outcome]:
    try:
        return _together(steps, decision)
    except OutcomeUnknown as error:
        # Not tried again: what was saved would look as if somebody else had changed it.
        return [Outcome.of_step(step, error) for step in steps]
    except DatabaseError as error:
        decision.budget.note(error)
        return [_alone(step, decision) for step in steps]


def _alone(step: Step, decision: _Decision) -> Outcome:
    if decision.errors:
        return Outcome.of_step(step, decision.errors[0])
    try:
        return _together([step], decision)[0]
    except DatabaseError as error:
        if unusable(error):
            decision.errors.append(error)
        return Outcome.of_step(step, error)


def _together(steps: Sequence[Step], decision: _Decision) -> list[Outcome]:
    left = {step.job_id: step.sentence for step in steps if not step.will}
    wanted = [step for step in steps if step.will]
    written: dict[UUID, str] = {}
    with transaction.atomic():
        # Lock first, then look again on a newer snapshot: a heartbeat or a result in between wins (I3).
        rows = _lock([step.job_id for step in wanted], decision.budget)
        same = [step for step in wanted if is_as_seen(rows.get(step.job_id), step)]
        jobs = _look_again([rows[step.job_id] for step in same])
        kept = {step.job_id: second_thought(step, jobs[step.job_id]) for step in same}
        left |= {job_id: why for job_id, why in kept.items() if why}
        for action, write in _WRITES.items():
            chosen = [jobs[step.job_id] for step in same if step.action == action and not kept[step.job_id]]
            written |= write(chosen, decision) if chosen else {}
        if written and decision.record:
            decision.record(written)
    left |= {step.job_id: changed(rows.get(step.job_id)) for step in wanted if step.job_id not in jobs}
    busy = _existing([step.job_id for step in wanted if step.job_id not in rows])
    return [
        not_locked(step, decision.budget)
        if step.job_id in busy
        else Outcome(step.job_id, done=step.job_id in written, sentence=(written | left)[step.job_id])
        for step in steps
    ]


def _lock(job_ids: Sequence[UUID], budget: WaitBudget) -> dict[UUID, JobWithTime]:
    """Lock these jobs until the transaction ends, except for those that others hold; return them as they now are."""
    # Always in the same order, so that two operations on the same jobs can't deadlock.
    jobs = Job.objects.filter(pk__in=job_ids).order_by("pk").only(*_READ_WITH_THE_LOCK).annotate(db_now=Now())
    return {job.pk: job for job in budget.lock(jobs)}


def not_locked(step: Step, budget: WaitBudget) -> Outcome:
    """Return the outcome for a job that exists and was not locked: with time left to wait, nobody else holds it.

    A policy of row-level security that lets the row be read, and not changed, hides it from whoever locks it.
    """
    return Outcome.of_refusal(step, RowKept(JOBS.name)) if budget.left else Outcome.locked_by_others(step)


def is_as_seen(job: Job | None, step: Step) -> bool:
    """Tell whether the job is as it was when the step was planned."""
    return job is not None and (job.status, job.run_epoch) == (step.seen_status, step.seen_epoch)


def _look_again(locked_jobs: Sequence[Job]) -> dict[UUID, JobWithEvidence]:
    """Read the signs of life of those jobs about which they decide. The others can't change: they are locked."""
    by_evidence = [job.pk for job in locked_jobs if job.status in NEED_EVIDENCE]
    others = {job.pk: job for job in locked_jobs if job.status not in NEED_EVIDENCE}
    return cast(dict[UUID, JobWithEvidence], others) | (_with_evidence(by_evidence) if by_evidence else {})


def _existing(job_ids: Sequence[UUID]) -> set[UUID]:
    return set(Job.objects.filter(pk__in=job_ids).values_list("pk", flat=True)) if job_ids else set()


def second_thought(step: Step, job: JobWithEvidence) -> str:
    """Return why a job that has not changed is skipped nevertheless, or ''. It was loaded by ``with_evidence()``, or needs none."""
    again = step_for(step.action, job)
    if not again.will:
        return again.sentence
    return diagnose(job).sentence if _worker_proved_alive(step, again) else ""


def _worker_proved_alive(step: Step, again: Step) -> bool:
    return step.action == JobAction.REQUEUE and step.seen_reason != again.seen_reason == Reason.HUNG


def changed(now: JobWithTime | None) -> str:
    """Return why a job that is no longer as it was seen is skipped, with what it is now."""
    if now is None:
        return "It no longer exists in the database."
    return f"It changed in the meantime: now {status_wording.of_job_within_sentence(now, now.db_now)}, run {now.run_epoch}."


def _requeue(jobs: Sequence[JobWithEvidence], decision: _Decision) -> dict[UUID, str]:
    if not JOBS.words(Status.QUARANTINED):
        # A quarantined job is one of the failed ones: without a new beginning it would end there again.
        return _release(jobs, decision)
    require_changed(restart(_locked(jobs), attempts=0), len(jobs), JOBS.name)
    return _send_again(jobs, JobEvent.Kind.REQUEUED, decision)


def _release(jobs: Sequence[JobWithEvidence], decision: _Decision) -> dict[UUID, str]:
    require_changed(restart(_locked(jobs), recovery_count=0, attempts=0), len(jobs), JOBS.name)
    return _send_again(jobs, JobEvent.Kind.RELEASED, decision)


def _locked(jobs: Sequence[Job]) -> JobQuerySet:
    return Job.objects.filter(pk__in=[job.pk for job in jobs])


def _send_again(jobs: Sequence[JobWithEvidence], kind: JobEvent.Kind, decision: _Decision) -> dict[UUID, str]:
    outbox.post_all(
        [
            NewMessage(job.pk, job.run_epoch + 1, job.queue, outbox.OPERATOR_REQUEUE, retry=True)
            for job in jobs
        ]
    )
    timeline.record_all(
        [
            NewEvent(
                job.pk,
                kind,
                job.run_epoch + 1,
                decision.actor,
                decision.reason,
                _taken_from(job) | {"from_epoch": job.run_epoch} | decision.details,
            )
            for job in jobs
        ]
    )
    epochs = {job.pk: job.run_epoch + 1 for job in jobs}
    follow_requeues(epochs, decision.actor, decision.reason, wait=decision.budget.left)
    return {job_id: f"Queued for run {epoch}." for job_id, epoch in epochs.items()}


def _cancel(jobs: Sequence[JobWithEvidence], decision: _Decision) -> dict[UUID, str]:
    cancelled = _locked(jobs).update(status=Status.CANCELLED, completed_at=None, updated_at=Now())
    require_changed(cancelled, len(jobs), JOBS.name)
    timeline.record_all(
        [
            NewEvent(
                job.pk,
                JobEvent.Kind.CANCELLED,
                job.run_epoch,
                decision.actor,
                decision.reason,
                _taken_from(job) | decision.details,
            )
            for job in jobs
        ]
    )
    return {job.pk: "Cancelled." for job in jobs}


def _taken_from(job: JobWithEvidence) -> dict[str, Any]:
    """Return from which state and worker a job was taken, and that the run had lost its worker if it was stale."""
    details = {"from_status": job.status, "worker": job.worker_id}
    return details | ({LOST_WORKER: True} if diagnose(job).stale else {})


_WRITES: dict[JobAction, Callable[[Sequence[JobWithEvidence], _Decision], dict[UUID, str]]] = {
    JobAction.REQUEUE: _requeue,
    JobAction.RELEASE: _release,
    JobAction.CANCEL: _cancel,
}
