"""Requeueing: a letter that names a known job is replayed by requeueing the job, so that one run wins (I1, I9)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias
from uuid import UUID

from django.db.models import F
from django_stubs_ext import WithAnnotations

from jobs.letter_ledger import settlement
from jobs.messaging import outbox
from jobs.models import DeadLetter, Job, JobEvent, Outbox, Status
from jobs.models.annotations import EvidenceColumns, MessageColumns
from jobs.models.columns import JOBS
from jobs.operations import job_operations
from jobs.operations.steps import JobAction
from jobs.operations.verdicts import sending, step_for
from jobs.runs.diagnosis import diagnose
from jobs.runs.restart import restart
from jobs.runs.timeline import Actor, record
from opsconsole.kit.changed_rows import require_changed
from opsconsole.kit.row_locks import WaitBudget


class NamedJobColumns(EvidenceColumns, MessageColumns):
    """The columns that ``jobs_of`` adds; None where the console sent no message for the run."""

    message_state: str | None
    message_key: str | None


NamedJob: TypeAlias = "WithAnnotations[Job, NamedJobColumns]"


class LetterResult(NamedTuple):
    """What became of one letter. ``failed``: its job should have been requeued, but the database refused it."""

    done: bool
    sentence: str
    failed: bool = False


LetterResults: TypeAlias = "dict[UUID, LetterResult]"

REQUEUES: dict[str, JobAction] = {
    Status.FAILED: JobAction.REQUEUE,
    Status.QUARANTINED: JobAction.RELEASE,
}


def jobs_of(letters: Iterable[DeadLetter]) -> dict[UUID | None, NamedJob]:
    """Return the known jobs that these letters name, with the evidence of their runs and their messages."""
    ids = {letter.job_id for letter in letters if letter.job_id}
    jobs = Job.objects.with_message().with_evidence().filter(pk__in=ids).defer("payload")
    known = jobs.annotate(message_key=F("message__message_id"))
    return {job.pk: job for job in known}


def judge(letter: DeadLetter, job: NamedJob) -> tuple[bool, str]:
    """Tell whether replaying the letter requeues its job, with a sentence about what will happen. Pure."""
    if job.status in REQUEUES:
        kind = "released from quarantine" if job.status == Status.QUARANTINED else "requeued"
        return (
            True,
            f"Its job will be {kind} as run {job.run_epoch + 1}{sending(job)} {_then(letter)}",
        )
    if job.status == Status.PENDING:
        return _judge_waiting(letter, job)
    if job.status == Status.IN_PROGRESS:
        return False, _of_running(job)
    if job.status == Status.COMPLETED:
        return False, "Its job is completed: discard the letter."
    if job.status == Status.CANCELLED:
        return False, "Its job was cancelled: requeue it on its page if it should run after all."
    return False, f"Its job has the status '{job.status}', which the console does not know."


def _then(letter: DeadLetter) -> str:
    """Say what becomes of the letter once its job was requeued: one that is not in its queue can't be deleted there."""
    is_there = letter.state == DeadLetter.State.IN_QUEUE
    return "Then the letter is deleted." if is_there else "The letter then counts as replayed."


def _of_running(job: NamedJob) -> str:
    if diagnose(job).stale:
        return "The run of its job is stale: the page of the job says what will happen to it."
    return "Its job is running: there is nothing to replay."


def _judge_waiting(letter: DeadLetter, job: NamedJob) -> tuple[bool, str]:
    """Judge a waiting job: it would wait forever if its only message is this letter, and else needs no second one."""
    if letter.run_epoch not in {None, job.run_epoch}:
        return False, f"Its job is already waiting for run {job.run_epoch}."
    its_message_died = job.message_state is None or (
        job.message_state == Outbox.State.SENT and job.message_key == letter.message_id
    )
    if its_message_died:
        return True, (
            f"Its job is waiting for a message that will never arrive: it will wait for run {job.run_epoch + 1}{sending(job)} "
            f"{_then(letter)}"
        )
    return False, f"Its job is already waiting for run {job.run_epoch}."


def requeue(
    pairs: Sequence[tuple[DeadLetter, NamedJob]], actor: Actor, reason: str, budget: WaitBudget
) -> LetterResults:
    """Requeue the jobs of these locked letters, as allowed by ``judge``; no two letters may name the same job.

    Return for each letter whether it was done, and a sentence.
    """
    steps = [step_for(REQUEUES[job.status], job) for _, job in pairs if job.status in REQUEUES]
    outcomes = job_operations.carry_out(steps, actor, reason, budget=budget) if steps else []
    results = {
        outcome.job_id: LetterResult(outcome.done, outcome.sentence, outcome.failed) for outcome in outcomes
    }
    for letter, job in pairs:
        if job.pk not in results:
            results[job.pk] = _send_again(letter, job, actor, reason, budget)
    followed = [
        (letter, job.run_epoch + 1)
        for letter, job in pairs
        if results[job.pk].done and letter.state not in settlement.FOLLOWING
    ]
    settlement.note(followed, actor, reason)
    return {
        letter.pk: result._replace(sentence=f"Its job was queued for run {job.run_epoch + 1}.")
        if result.done
        else result
        for letter, job in pairs
        for result in [results[job.pk]]
    }


def _send_again(
    letter: DeadLetter, job: NamedJob, actor: Actor, reason: str, budget: WaitBudget
) -> LetterResult:
    waiting = Job.objects.waiting().filter(pk=job.pk, run_epoch=job.run_epoch)
    if not restart(waiting):
        # A run that no longer waits never waits again: one that still does was kept from being changed.
        require_changed(0, waiting.count(), JOBS.name)
        return LetterResult(done=False, sentence="Its job has changed in the meantime. Nothing was changed.")
    epoch = job.run_epoch + 1
    outbox.post(job.pk, epoch, job.queue, reason=outbox.OPERATOR_REQUEUE, retry=True)
    details = {"from_status": job.status, "from_epoch": job.run_epoch, "dead_letter": str(letter.pk)}
    record(job.pk, JobEvent.Kind.REQUEUED, run_epoch=epoch, actor=actor, reason=reason, details=details)
    settlement.follow_requeues({job.pk: epoch}, actor, reason, wait=budget.left)
    return LetterResult(done=True, sentence=f"Queued for run {epoch}.")
