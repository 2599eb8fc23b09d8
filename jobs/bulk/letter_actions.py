"""Replay, discard and restore for many dead letters, with the same plan and guards as for one.

This module only writes requests with their ledger; ``jobs.dead_letters.fulfilment`` talks to SQS in the order of the
requests. A chunk is therefore one transaction, and letters are replayed in the order in which they were sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from django_q.tasks import async_task

from jobs.bulk.kinds import Kind, Order, Result, Trial
from jobs.dead_letters import operations, origins, queue_visit
from jobs.letter_ledger.entries import LetterAction
from jobs.models import DeadLetter, Status

# FIFO queues keep the order of sending within a group.
AS_SENT = ("sent_at", "pk")


def _carry_out(order: Order) -> list[Result]:
    outcomes = operations.carry_out(order.steps, order.actor, order.operation.reason)
    # Committed with the requests; the cluster would look within a minute anyway.
    async_task("jobs.tasks.work_dead_letters", group="dead letters")
    return [Result.of(outcome) for outcome in outcomes]


def came_through(subjects: Sequence[str]) -> int:
    """Return how many of these letters were replayed for a job that has completed since."""
    return DeadLetter.objects.filter(pk__in=subjects, job__status=Status.COMPLETED).count()


def _customers(subjects: Sequence[str]) -> dict[str, str]:
    """Return the customer of the job that each letter names, or its queue when it names none."""
    letters = DeadLetter.objects.filter(pk__in=subjects)
    told = letters.values_list("pk", "job__customer_id", "queue")
    return {str(pk): customer or queue for pk, customer, queue in told}


def not_seen() -> list[str]:
    """Return a sentence per dead letter queue of which the last scan did not see everything."""
    return [why for dlq in origins.known() if (why := queue_visit.unseen_in_words(dlq))]


def _kind(
    action: LetterAction, verb: str, done_word: str, permission: str, trial: Trial | None = None
) -> Kind:
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
        caveats=not_seen,
    )


KINDS = (
    _kind(
        LetterAction.REPLAY,
        "Replay",
        "marked for replay",
        "replay",
        Trial(came_back=operations.came_back, came_through=came_through),
    ),
    _kind(LetterAction.DISCARD, "Discard", "discarded", "discard"),
    _kind(LetterAction.RESTORE, "Restore", "restored", "discard"),
)
