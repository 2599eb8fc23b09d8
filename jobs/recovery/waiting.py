"""Why does a pending job wait? What is known of its message, and whether it is proven lost, in words.

``look`` reads, ``explain`` decides and is pure. The proof is that of ``jobs.recovery.lost_messages``, which re-sends by it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID

from django.conf import settings
from django.db.models import F, TextChoices
from django_stubs_ext import WithAnnotations

from jobs.models import Job, Outbox, QueueState, RecoveryControl
from jobs.models.annotations import MessageColumns
from jobs.models.job import lost_after
from jobs.models.outbox import MOST_RESENDS
from jobs.recovery import lost_messages
from jobs.recovery.lost_messages import Proof
from opsconsole.kit.durations import spell


class MessageStateColumns(MessageColumns):
    """What ``look`` reads of the run's message; None where the console sent none."""

    message_state: str | None
    message_sent_at: datetime | None
    message_tries: int | None
    message_error: str | None


JobWithMessageState: TypeAlias = "WithAnnotations[Job, MessageStateColumns]"


class Why(TextChoices):
    UNSENT = "unsent", "message not sent yet"
    REFUSED = "refused", "message refused"
    USED_UP = "used_up", "re-sent in vain"
    LOST = "lost", "message lost"
    UNPROVEN = "unproven", "message may be lost"


@dataclass(frozen=True)
class Waiting:
    """``facts``: labels with a time or words, the evidence. ``pressing``: it does not pass by itself."""

    why: Why
    sentence: str
    facts: list[tuple[str, Any]] = field(default_factory=list)

    @property
    def pressing(self) -> bool:
        return self.why in {Why.REFUSED, Why.USED_UP}


@dataclass(frozen=True)
class Surroundings:
    """What, beside the job, decides: the proof for its queue, the queue's last reading, who may re-send."""

    proof: Proof | None
    queue: QueueState | None
    control: RecoveryControl
    resending: bool


def look(job_id: UUID) -> Waiting | None:
    """Of a pending job, why it waits; None when it has not waited for long, or no longer waits."""
    job = (
        Job.objects.waiting()
        .with_message()
        .annotate(
            message_state=F("message__state"),
            message_sent_at=F("message__sent_at"),
            message_tries=F("message__attempts"),
            message_error=F("message__last_error"),
        )
        .filter(pk=job_id)
        .first()
    )
    if job is None:
        return None
    around = Surroundings(
        proof=lost_messages.proofs().get(job.queue),
        queue=QueueState.objects.filter(name=job.queue).first(),
        control=RecoveryControl.load(),
        resending=lost_messages.resending(),
    )
    return explain(job, around)


def explain(job: JobWithMessageState, around: Surroundings) -> Waiting | None:
    """The answer for a job that was loaded with what the outbox knows of its message."""
    waited = job.read_at - job.waiting_since
    if job.message_state == Outbox.State.REFUSED:
        return Waiting(
            Why.REFUSED,
            "SQS refused its message for good. Mend what it refuses, then cancel the job and requeue it.",
            [("SQS said", job.message_error or "nothing"), *_sending(job)],
        )
    if job.message_state == Outbox.State.WAITING:
        late = bool(job.message_tries) or waited > lost_after()
        return Waiting(Why.UNSENT, _unsent(job), _sending(job)) if late else None
    if waited <= lost_after():
        return None
    facts = [("Waiting since", job.waiting_since), *_sending(job), ("Proof", _proof(job, around))]
    if job.resends >= MOST_RESENDS:
        return Waiting(Why.USED_UP, _used_up(job), facts)
    facts.append(("Next re-send", _next(job, around)))
    if around.proof and lost_messages.is_proven(job, around.proof):
        sentence = f"Its message is lost: it waited for {spell(waited)}, and {around.proof.sentence}."
        return Waiting(Why.LOST, sentence, facts)
    sentence = f"It has waited for {spell(waited)}. Its message may be lost; that is not proven."
    return Waiting(Why.UNPROVEN, sentence, facts)


def _unsent(job: JobWithMessageState) -> str:
    if job.message_error:
        return f"Its message was not sent yet. The last try failed: {job.message_error}"
    return "Its message was not sent yet: see that the dispatcher runs."


def _used_up(job: JobWithMessageState) -> str:
    return (
        f"Its message was sent again {job.resends} times, and still nobody claims it. It is not sent again by itself: "
        f"see that workers of the queue '{job.queue}' run, then cancel the job and requeue it."
    )


def _sending(job: JobWithMessageState) -> list[tuple[str, Any]]:
    if job.message_state is None:
        return [("Message", "sent by its producer, if at all: the console sent none for this run")]
    facts: list[tuple[str, Any]] = [("Last sent", job.message_sent_at or "never")]
    if job.message_state == Outbox.State.WAITING:
        facts.append(("Tried", _times(job.message_tries or 0)))
    return [*facts, ("Re-sent", f"{job.resends} of {MOST_RESENDS} times")]


def _times(count: int) -> str:
    return f"{count} time{'' if count == 1 else 's'}"


def _proof(job: JobWithMessageState, around: Surroundings) -> str:
    proof = around.proof
    if proof and lost_messages.is_proven(job, proof):
        return f"{proof.sentence}, at {proof.before:%H:%M:%S %Z}"
    if job.queue not in settings.QUEUES:
        return f"none: the queue '{job.queue}' is not configured here"
    return f"none: {_reading(around.queue)}, and fewer than {lost_messages.LATER_CLAIMS} jobs enqueued later were claimed"


def _reading(queue: QueueState | None) -> str:
    if queue is None or queue.read_at is None or queue.error:
        return "what its queue holds is unknown"
    held = sum(count or 0 for count in (queue.visible, queue.in_flight, queue.delayed))
    if held:
        return f"its queue holds about {held} message{'' if held == 1 else 's'}, of which one may be its own"
    return "its queue was not seen empty since"


def _next(job: JobWithMessageState, around: Surroundings) -> str:
    control = around.control
    if not control.armed:
        return "none by itself: recovery only observes"
    if control.cutoff and job.updated_at < control.cutoff:
        return "by hand only: it waits since before the cutoff"
    if settings.OPSCONSOLE_LOST_RESEND == "off":
        return "by hand only (OPSCONSOLE_LOST_RESEND is off)"
    if not around.resending:
        return "by hand only while workers without epochs are seen: for them a second message may be a second run"
    patience = lost_after() * 2**job.resends
    wait = patience - (job.read_at - job.waiting_since)
    if wait > timedelta(0):
        return f"by a sweep, no earlier than in {spell(wait)}, once its loss is proven"
    return "by the next sweep once its loss is proven"
