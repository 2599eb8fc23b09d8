"""A letter that names a known job is replayed by requeueing the job, so that one run wins (I1, I9)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias
from uuid import UUID

from django.db.models import F
from django_stubs_ext import WithAnnotations

from jobs.letter_ledger import settlement
from jobs.messaging import outbox
from jobs.models import DeadLetter, Job, JobEvent, Outbox, Status
from jobs.models.annotations import EvidenceColumns, MessageColumns
from jobs.operations import job_operations
from jobs.runs.diagnosis import diagnose
from jobs.runs.restart import restart
from jobs.runs.timeline import Actor, record


class NamedJobColumns(EvidenceColumns, MessageColumns):
    """What ``jobs_of`` reads; None where the console sent no message for the run."""

    message_state: str | None
    message_key: str | None


NamedJob: TypeAlias = "WithAnnotations[Job, NamedJobColumns]"
Said = dict[UUID, tuple[bool, str]]

REQUEUES: dict[str, job_operations.Action] = {
    Status.FAILED: job_operations.Action.REQUEUE,
    Status.QUARANTINED: job_operations.Action.RELEASE,
}


def jobs_of(letters: Iterable[DeadLetter]) -> dict[UUID | None, NamedJob]:
    """The jobs that these letters name and that are known, with what is known of their lives and messages."""
    ids = {letter.job_id for letter in letters if letter.job_id}
    jobs = Job.objects.with_message().with_evidence().filter(pk__in=ids).defer("payload")
    known = jobs.annotate(message_key=F("message__message_id"))
    return {job.pk: job for job in known}


def judge(letter: DeadLetter, job: NamedJob) -> tuple[bool, str]:
    """Whether replaying the letter requeues its job, and what will happen, in a sentence. Pure."""
    if job.status in REQUEUES:
        kind = "released from quarantine" if job.status == Status.QUARANTINED else "requeued"
        return True, (
            f"Its job will be {kind} as run {job.run_epoch + 1}; the letter goes when that message was sent."
        )
    if job.status == Status.PENDING:
        return _judge_waiting(letter, job)
    if job.status == Status.IN_PROGRESS:
        return False, _of_running(job)
    if job.status == Status.COMPLETED:
        return False, "Its job is completed: discard the letter."
    if job.status == Status.CANCELLED:
        return False, "Its job was cancelled: requeue it on its page if it is to run after all."
    return False, f"Its job has the status '{job.status}', which is not known to the console."


def _of_running(job: NamedJob) -> str:
    if diagnose(job).stale:
        return "Its job's run is stale: see on the job's page what will happen to it."
    return "Its job is running: nothing to replay."


def _judge_waiting(letter: DeadLetter, job: NamedJob) -> tuple[bool, str]:
    """A waiting job whose only message is this letter waits for ever; with another message, it needs no second."""
    if letter.run_epoch not in {None, job.run_epoch}:
        return False, f"Its job waits for run {job.run_epoch} already."
    its_message_died = job.message_state is None or (
        job.message_state == Outbox.State.SENT and job.message_key == letter.message_id
    )
    if its_message_died:
        return True, (
            f"Its job waits for a message that died: it will be sent again as run {job.run_epoch + 1}."
        )
    return False, f"Its job waits for run {job.run_epoch} already."


def requeue(pairs: Sequence[tuple[DeadLetter, NamedJob]], actor: Actor, reason: str) -> Said:
    """Requeue the jobs of these locked letters, each another one, that ``judge`` allowed.

    Returns for each letter whether it was done, and a sentence.
    """
    steps = [job_operations.step_for(REQUEUES[job.status], job) for _, job in pairs if job.status in REQUEUES]
    outcomes = job_operations.carry_out(steps, actor, reason) if steps else []
    said = {outcome.job_id: (outcome.done, outcome.sentence) for outcome in outcomes}
    for letter, job in pairs:
        if job.pk not in said:
            said[job.pk] = _send_again(letter, job, actor, reason)
    followed = [
        (letter, job.run_epoch + 1)
        for letter, job in pairs
        if said[job.pk][0] and letter.state not in settlement.FOLLOWING
    ]
    settlement.note(followed, actor, reason)
    return {
        letter.pk: (done, f"Its job was requeued. {sentence}" if done else sentence)
        for letter, job in pairs
        for done, sentence in [said[job.pk]]
    }


def _send_again(letter: DeadLetter, job: NamedJob, actor: Actor, reason: str) -> tuple[bool, str]:
    waiting = Job.objects.waiting().filter(pk=job.pk, run_epoch=job.run_epoch)
    if not restart(waiting):
        return False, "Its job changed meanwhile."
    epoch = job.run_epoch + 1
    outbox.post(job.pk, epoch, job.queue, reason=outbox.OPERATOR_REQUEUE, retry=True)
    details = {"from_status": job.status, "from_epoch": job.run_epoch, "dead_letter": str(letter.pk)}
    record(job.pk, JobEvent.Kind.REQUEUED, run_epoch=epoch, actor=actor, reason=reason, details=details)
    settlement.follow_requeue(job.pk, epoch, actor, reason)
    return True, f"Waits for run {epoch}."
