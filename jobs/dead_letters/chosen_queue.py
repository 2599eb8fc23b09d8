"""Sending a letter to a queue that a person chose, because the message does not say to which queue it belongs."""

from __future__ import annotations

from copy import copy

from django.conf import settings
from django.db import transaction

from jobs.dead_letters import fifo_order, letter_locks, operations, origins, requeue
from jobs.dead_letters.requeue import NamedJob
from jobs.letter_ledger.entries import LetterAction
from jobs.models import DeadLetter
from jobs.operations.steps import Step
from jobs.runs.timeline import Actor


def is_offered(letter: DeadLetter, job: NamedJob | None) -> bool:
    """Tell whether a person may choose the queue of this letter. ``job``: the job it names, if known.

    A letter of a known job never is: the job is requeued instead. A choice can be changed while nothing was sent.
    """
    return not why_not(letter, job)


def why_not(letter: DeadLetter, job: NamedJob | None) -> str:
    """Say why nobody can choose the queue of this letter; '' where a person may."""
    if job is not None:
        return "It names a job of the console: requeue the job instead."
    named = origins.origin_of(letter.dlq.queues, letter.source_arn, None, letter.addressee)
    if letter.queue in settings.QUEUES and named in settings.QUEUES:
        return f"It is known that it belongs to the queue {letter.queue}: replay it."
    steps = [_step(letter, queue) for queue in settings.QUEUES]
    if any(step.will for step in steps):
        return ""
    return steps[0].sentence if steps else "The console has no queue: set OPSCONSOLE_QUEUES or SQS_QUEUE_URL."


def preview(letter: DeadLetter, queue: str) -> str:
    """Return what sending this letter to the queue would do."""
    there = _in(letter, queue)
    [step] = fifo_order.with_waits([operations.step_for(LetterAction.REPLAY, there, None)], [there])
    return step.sentence


def send_to(letter: DeadLetter, queue: str, actor: Actor, reason: str) -> bool:
    """Request that the letter is sent to this queue; return False when that is no longer possible.

    The queue stays with the letter, and the ledger says that a person chose it. Raise ``OperationRefused`` while
    somebody else has the letter locked.
    """
    with transaction.atomic():
        now = letter_locks.lock_one(letter.pk)
        if queue not in settings.QUEUES or not is_offered(now, requeue.jobs_of([now]).get(now.job_id)):
            return False
        now.queue = queue
        now.save(update_fields=["queue"])
        operations.want_sending([now], actor, f"To the queue {queue}, chosen by hand: {reason}")
    return True


def _step(letter: DeadLetter, queue: str) -> Step:
    return operations.step_for(LetterAction.REPLAY, _in(letter, queue), None)


def _in(letter: DeadLetter, queue: str) -> DeadLetter:
    there = copy(letter)
    there.queue = queue
    return there
