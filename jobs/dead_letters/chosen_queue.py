"""Sending a letter to a queue that a person chose, because the message does not say to which queue it belongs."""

from __future__ import annotations

from copy import copy

from django.conf import settings
from django.db import transaction

from jobs.dead_letters import letter_locks, operations, origins, requeue
from jobs.dead_letters.requeue import NamedJob
from jobs.letter_ledger.entries import LetterAction
from jobs.models import DeadLetter
from jobs.operations.steps import Step
from jobs.runs.timeline import Actor


def is_offered(letter: DeadLetter, job: NamedJob | None) -> bool:
    """Tell whether a person may choose the queue of this letter. ``job``: the job it names, if known.

    A letter of a known job never is: the job is requeued instead. A choice can be changed while nothing was sent.
    """
    named = origins.origin_of(letter.dlq.queues, letter.source_arn, None, letter.addressee)
    if job is not None or (letter.queue in settings.QUEUES and named in settings.QUEUES):
        return False
    return any(_step(letter, queue).will for queue in settings.QUEUES)


def preview(letter: DeadLetter, queue: str) -> str:
    """Return what sending this letter to the queue would do."""
    return _step(letter, queue).sentence


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
    there = copy(letter)
    there.queue = queue
    return operations.step_for(LetterAction.REPLAY, there, None)
