"""The message of a waiting job: sent, refused, not sent yet or lost, and how that is known, in words.

Every page, list, filter and count asks this module. ``with_message()`` reads what the outbox knows;
``jobs.recovery.loss_proofs`` has the proof that a message is lost, and ``lost_messages`` re-sends by it. ``look`` reads; ``explain``
decides and is pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeAlias
from uuid import UUID

from django.conf import settings
from django.db.models import F
from django_stubs_ext import WithAnnotations

from jobs.models import Job, MessageTrouble, Outbox, QueueState, WorkerHeartbeat
from jobs.models.annotations import MessageColumns
from jobs.models.job import JobQuerySet, JobWithMessage
from jobs.models.outbox import MOST_RESENDS
from jobs.models.waiting_message import patience_after
from jobs.recovery import loss_proofs, lost_messages, resends, surroundings
from jobs.recovery.loss_proofs import Proof
from jobs.recovery.surroundings import Surroundings
from opsconsole.kit import one_statement
from opsconsole.kit.counting import exactly
from opsconsole.kit.durations import spell
from opsconsole.kit.one_statement import exists_of


class MessageStateColumns(MessageColumns):
    """The columns of the run's message that ``look`` reads; None where the console sent none."""

    message_sent_at: datetime | None
    message_tries: int | None
    message_error: str | None


JobWithMessageState: TypeAlias = "WithAnnotations[Job, MessageStateColumns]"


def having(trouble: MessageTrouble, jobs: JobQuerySet | None = None) -> JobQuerySet[JobWithMessage]:
    """Return the waiting jobs (default: of all jobs) whose message has this trouble."""
    jobs = Job.objects.all() if jobs is None else jobs
    match trouble:
        case MessageTrouble.LOST:
            return loss_proofs.proven(jobs.with_trouble(MessageTrouble.UNPROVEN), loss_proofs.proofs())
        case MessageTrouble.UNPROVEN:
            return loss_proofs.unproven(jobs.with_trouble(trouble), loss_proofs.proofs())
    return jobs.with_trouble(trouble)


def troubles(jobs: Iterable[JobWithMessage]) -> dict[UUID, MessageTrouble]:
    """Return the troubles of jobs loaded by ``with_message()``, by job id, with at most one query."""
    named = [(job, MessageTrouble(job.message_trouble)) for job in jobs if job.message_trouble]
    queues = {job.queue for job, trouble in named if trouble == MessageTrouble.UNPROVEN}
    by_queue = loss_proofs.proofs(loss_proofs.readable_states(queues)) if queues else {}
    return {job.pk: _proven(job, trouble, by_queue.get(job.queue)) for job, trouble in named}


def _proven(job: JobWithMessage, trouble: MessageTrouble, proof: Proof | None) -> MessageTrouble:
    lost = trouble == MessageTrouble.UNPROVEN and proof and loss_proofs.is_proven(job, proof)
    return MessageTrouble.LOST if lost else trouble


# A label with words, a time (shown as an age) or how long something has lasted.
Fact: TypeAlias = tuple[str, str | datetime | timedelta | None]


@dataclass(frozen=True)
class Waiting:
    """``facts``: labels with words, a time or a duration, the evidence."""

    trouble: MessageTrouble
    sentence: str
    facts: list[Fact] = field(default_factory=list)


@dataclass(frozen=True)
class MessageSurroundings:
    """What decides besides the job: the proof for its queue, the queue's last reading, and whether re-sends are allowed."""

    proof: Proof | None
    queue: QueueState | None
    recovery: Surroundings
    resending: bool


def look(job_id: UUID) -> Waiting | None:
    """Return why a pending job waits; None when nothing is wrong with its message, or it is no longer waiting."""
    job = (
        Job.objects.waiting()
        .with_message()
        .annotate(
            message_sent_at=F("message__sent_at"),
            message_tries=F("message__attempts"),
            message_error=F("message__last_error"),
        )
        .filter(pk=job_id)
        .first()
    )
    if job is None or job.message_trouble is None:
        return None
    read = one_statement.read(
        state=surroundings.reading(), old_kind=exists_of(WorkerHeartbeat.objects.old_kind_in_use())
    )
    around = MessageSurroundings(
        proof=loss_proofs.proofs(loss_proofs.readable_states([job.queue])).get(job.queue),
        queue=QueueState.objects.filter(name=job.queue).first(),
        recovery=surroundings.counted_if_armed(surroundings.of_state(read["state"])),
        resending=lost_messages.resending(old_kind=read["old_kind"]),
    )
    return explain(job, _proven(job, MessageTrouble(job.message_trouble), around.proof), around)


def explain(job: JobWithMessageState, trouble: MessageTrouble, around: MessageSurroundings) -> Waiting:
    """Return the answer for a job with a message in trouble, loaded with what the outbox knows."""
    waited = job.read_at - job.waiting_since
    if trouble == MessageTrouble.REFUSED:
        return Waiting(
            trouble,
            "Its message was refused permanently. Once what is refused is corrected, the job has to be cancelled, and then requeued.",
            [("Why", job.message_error or "nothing"), *_sending(job)],
        )
    if trouble == MessageTrouble.UNSENT:
        return Waiting(trouble, _unsent(job), _sending(job))
    facts: list[Fact] = [
        ("No worker took it", waited),
        *_sending(job),
        ("Proof", _proof(job, around)),
    ]
    if trouble == MessageTrouble.USED_UP:
        return Waiting(trouble, _used_up(job), facts)
    facts.append(("Next re-send", _next(job, trouble, around)))
    if trouble == MessageTrouble.LOST and around.proof:
        sentence = loss_proofs.sentence_about(waited, around.proof)
    else:
        sentence = f"No worker has taken it for {spell(waited)}. Its message may be lost; that is not proven."
    return Waiting(trouble, sentence, facts)


def _unsent(job: JobWithMessageState) -> str:
    if job.message_error:
        return f"Its message was not sent yet. The last try failed: {job.message_error}"
    if job.queue not in settings.QUEUES:
        return f"Its message was not sent yet: nothing can be sent to the queue '{job.queue}' until it is configured."
    return "Its message was not sent yet. Check that the dispatcher runs."


def _used_up(job: JobWithMessageState) -> str:
    return (
        f"Its message was sent again {job.resends} times, and still no worker claims it. It is not sent again automatically. "
        f"Once workers of the queue '{job.queue}' run, the job has to be cancelled, and then requeued."
    )


def _sending(job: JobWithMessageState) -> list[Fact]:
    if job.message_state is None:
        return [("Message", "sent by its producer, if at all: the console sent none for this run")]
    facts: list[Fact] = [("Last sent", job.message_sent_at or "never")]
    if job.message_state == Outbox.State.WAITING:
        facts.append(("Tried", exactly(job.message_tries or 0, "time")))
    return [*facts, ("Re-sent", f"{job.resends} of {MOST_RESENDS} times")]


def _proof(job: JobWithMessageState, around: MessageSurroundings) -> str:
    proof = around.proof
    if proof and loss_proofs.is_proven(job, proof):
        return proof.sentence
    if job.queue not in settings.QUEUES:
        return f"none: the queue '{job.queue}' is not configured here"
    return f"none: {_reading(around.queue)}"


def _reading(queue: QueueState | None) -> str:
    if queue is None or queue.held is None or queue.error:
        return "what its queue holds is unknown, so no message is sent again"
    if queue.held:
        return f"its queue holds about {exactly(queue.held, 'message')}, of which one may be its own"
    return "its queue was not seen empty since"


def _next(job: JobWithMessageState, trouble: MessageTrouble, around: MessageSurroundings) -> str:
    """Say what happens next to a message that may be lost."""
    recovery = around.recovery
    if job.queue not in settings.QUEUES:
        return f"Nothing can be sent to the queue '{job.queue}' until it is configured."
    cutoff = recovery.policy.cutoff
    if recovery.armed and cutoff and job.updated_at < cutoff:
        return resends.BEFORE_CUTOFF
    if kept := resends.why_none(recovery, resending=around.resending):
        return kept
    wait = patience_after(job.resends) - (job.read_at - job.waiting_since)
    unless = (
        "unless a worker takes it before" if trouble == MessageTrouble.LOST else "once its loss is proven"
    )
    if wait > timedelta(0):
        return f"A sweep sends it again, no earlier than in {spell(wait)}, {unless}."
    return f"The next sweep sends it again, {unless}."
