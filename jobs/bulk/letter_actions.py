"""Replay, discard and restore of many dead letters, by the same plan and guards as of one.

What is done here is to write wishes with their ledger; ``jobs.dead_letters.fulfilment`` talks to SQS, in the order of
the wishes. So a chunk is one transaction, and the members' order (as they were sent) is the order of the replay.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from django_q.tasks import async_task

from jobs.bulk.kinds import Kind, Order, Result, Trial
from jobs.dead_letters import operations
from jobs.letter_ledger.entries import Action
from jobs.models import DeadLetter, Status

# FIFO queues promise the order of sending within a group.
AS_SENT = ("sent_at", "pk")


def _carry_out(order: Order) -> list[Result]:
    outcomes = operations.carry_out(order.steps, order.actor, order.operation.reason)
    # Committed with the wishes; the cluster would look within the minute anyway.
    async_task("jobs.tasks.work_dead_letters", group="dead letters")
    return [Result.of(outcome) for outcome in outcomes]


def came_through(subjects: Sequence[str]) -> int:
    """How many of these letters were replayed for a job that is completed since."""
    return DeadLetter.objects.filter(pk__in=subjects, job__status=Status.COMPLETED).count()


def _customers(subjects: Sequence[str]) -> dict[str, str]:
    """Whose job each letter names; the queue of one that names none."""
    letters = DeadLetter.objects.filter(pk__in=subjects)
    told = letters.values_list("pk", "job__customer_id", "queue")
    return {str(pk): customer or queue for pk, customer, queue in told}


def _kind(action: Action, verb: str, done_word: str, permission: str, trial: Trial | None = None) -> Kind:
    return Kind(
        action=action.value,
        model=DeadLetter,
        page="jobs_deadletter",
        one="dead letter",
        many="dead letters",
        verb=verb,
        done_word=done_word,
        permission=f"jobs.{permission}_deadletter",
        order=AS_SENT,
        plan=partial(operations.plan, action),
        carry_out=_carry_out,
        describe=_customers,
        states=dict(DeadLetter.State.choices),
        trial=trial,
    )


KINDS = (
    _kind(
        Action.REPLAY,
        "Replay",
        "marked for replay",
        "replay",
        Trial(came_back=operations.came_back, came_through=came_through),
    ),
    _kind(Action.DISCARD, "Discard", "discarded", "discard"),
    _kind(Action.RESTORE, "Restore", "restored", "discard"),
)
