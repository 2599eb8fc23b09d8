"""Edits of payloads: a job that waits, failed or is quarantined gets another payload, and its timeline keeps the original.

A job that ended is started again with it, as by requeue or release, in the same transaction: both happen, or neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.db import DatabaseError, models, transaction
from django.db.models import F, Func, Value
from django.db.models.functions import Cast, Now

from jobs.intake import payload_text
from jobs.models import Job, JobEvent, Status
from jobs.models.columns import JOBS
from jobs.models.job import JobWithEvidence
from jobs.operations import job_operations
from jobs.operations.steps import JobAction, OperationRefused, Outcome, Step
from jobs.operations.verdicts import step_for
from jobs.runs import timeline
from jobs.runs.timeline import Actor
from opsconsole.kit import reasons
from opsconsole.kit.bounded_columns import whole
from opsconsole.kit.changed_rows import require_changed
from opsconsole.kit.counting import exactly
from opsconsole.kit.line_diffs import digest_of
from opsconsole.kit.page_permissions import Asker
from opsconsole.kit.row_locks import WaitBudget

EDIT = "edit"
# What the audit says, of a job that waits and of one that starts again.
DID = "Edited the payload."
DID_AND_STARTED = "Edited the payload and started the job again."
UNCHANGED = "The payload is unchanged: requeue or release the job without editing it."
AS_BEFORE = "Waits as before, with the new payload. A worker that takes it in the meantime keeps the old one, and nothing is changed."
ENDED_BY = {Status.FAILED: JobAction.REQUEUE, Status.QUARANTINED: JobAction.RELEASE}
_NOT_THESE = "Only the payload of a job that waits, failed or is quarantined can be edited."


@dataclass(frozen=True)
class Seen:
    """A job as somebody sees it before the edit. ``pretty``: its payload, with a line per value; '' where ``why`` it can't be edited.

    ``digest`` tells two payloads apart.
    """

    job: JobWithEvidence
    step: Step
    pretty: str
    digest: str


def action_for(status: str) -> JobAction | None:
    """Return what follows the edit of a job in this status, or None: it waits already."""
    return ENDED_BY.get(Status(status)) if status in Status.values else None


def look(job_id: UUID) -> Seen | None:
    """Return the job with its whole payload, or None where there is no such job."""
    job = Job.objects.with_evidence().filter(pk=job_id).first()
    if job is None:
        return None
    size = Job.objects.filter(pk=job_id).values_list(_size(), flat=True).get()
    step = step_of(job, size)
    if not step.will:
        return Seen(job, step, "", "")
    text = Job.objects.filter(pk=job_id).values_list(_pretty(), flat=True).get()
    return Seen(job, step, text, digest_of(text))


def did(step: Step) -> str:
    """Return what the audit says of this edit."""
    return DID if step.action == EDIT else DID_AND_STARTED


def may(user: Asker, status: str) -> bool:
    """Tell whether this person may edit the payload of a job in this status, and start it again with it."""
    again = action_for(status)
    return user.has_perm("jobs.edit_job") and (again is None or user.has_perm(f"jobs.{again}_job"))


def step_of(job: JobWithEvidence, size: int) -> Step:
    """Return what the edit would do to the job, whose payload has this many bytes. Pure."""
    again = action_for(job.status)
    if again is not None:
        step = step_for(again, job)
    elif job.status == Status.PENDING:
        step = Step(job.pk, EDIT, job.status, job.run_epoch, "", True, AS_BEFORE)  # noqa: FBT003 - as the class has it
    else:
        step = Step(job.pk, EDIT, job.status, job.run_epoch, "", False, _NOT_THESE)  # noqa: FBT003
    if size <= payload_text.MOST_EDITED_BYTES:
        return step
    too_large = f"Its payload has {exactly(size, 'byte')}; up to {payload_text.MOST_EDITED_BYTES:,} can be edited here."
    return Step(job.pk, step.action, job.status, job.run_epoch, step.seen_reason, False, too_large)  # noqa: FBT003


def carry_out(seen: Step, digest: str, payload: str, actor: Actor, reason: str) -> Outcome:
    """Write the payload (JSON text) if the job is still as it was seen, and start it again if it had ended.

    Raise ``OperationRefused`` without a reason, for a payload that can't be stored, and for one that changes nothing.
    """
    reason = reasons.required(reason, OperationRefused, job_operations.KEPT)
    if problem := payload_text.problem_with(payload):
        raise OperationRefused(problem)
    try:
        with transaction.atomic():
            outcome = _edit(seen, digest, payload, actor, reason)
            if not outcome.done:
                transaction.set_rollback(True)
    except DatabaseError as error:
        return Outcome.of_refusal(seen, error)
    return outcome


def _edit(seen: Step, digest: str, payload: str, actor: Actor, reason: str) -> Outcome:
    budget = WaitBudget()
    jobs = Job.objects.filter(pk=seen.job_id).only("status", "run_epoch", "not_before")
    rows = budget.lock(jobs.annotate(db_now=Now()))
    if not rows:
        gone = not Job.objects.filter(pk=seen.job_id).exists()
        return (
            Outcome(seen.job_id, done=False, sentence="It no longer exists in the database.")
            if gone
            else job_operations.not_locked(seen, budget)
        )
    now = look(seen.job_id)
    if now is None or (now.step.seen_status, now.step.seen_epoch) != (seen.seen_status, seen.seen_epoch):
        return Outcome(seen.job_id, done=False, sentence=job_operations.changed(rows[0]))
    if not now.step.will:
        return Outcome(seen.job_id, done=False, sentence=now.step.sentence)
    if now.digest != digest:
        return Outcome(seen.job_id, done=False, sentence="Somebody else changed the payload in the meantime.")
    if payload_text.pretty(payload) == now.pretty:
        raise OperationRefused(UNCHANGED)
    _write(now, payload, actor, reason)
    if now.step.action == EDIT:
        return Outcome(seen.job_id, done=True, sentence="It waits, with the new payload.")
    [outcome] = job_operations.carry_out([now.step], actor, reason, budget=budget)
    return outcome


def _write(now: Seen, payload: str, actor: Actor, reason: str) -> None:
    before = Job.objects.filter(pk=now.job.pk).values_list(whole("payload"), flat=True).get()
    edited = Job.objects.filter(pk=now.job.pk).update(payload=Cast(Value(payload), models.JSONField()))
    require_changed(edited, 1, JOBS.name)
    timeline.record(
        now.job.pk,
        JobEvent.Kind.EDITED,
        run_epoch=now.job.run_epoch,
        actor=actor,
        reason=reason,
        # As text: a number keeps all its digits.
        details={"payload_before": before},
    )


def _pretty() -> Func:
    return Func(F("payload"), function="jsonb_pretty", output_field=models.TextField())


def _size() -> Func:
    return Func(_pretty(), function="octet_length", output_field=models.IntegerField())
