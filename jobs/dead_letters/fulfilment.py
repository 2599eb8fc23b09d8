"""The fulfilment of requests: the cluster carries them out every minute, and at once when one is made."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic

from django.db.models import Q, QuerySet

from jobs.dead_letters import origins, removed_queues, replay, send_outcomes
from jobs.dead_letters.check import check_one
from jobs.dead_letters.scan import Budget
from jobs.letter_ledger.entries import LetterAction, State
from jobs.models import DeadLetterQueue, ReplayAttempt


@dataclass
class FulfilmentTurn:
    """The number of letters that one turn sent and deleted. ``waiting``: requests that are still open."""

    sent: int = 0
    deleted: int = 0
    unknown: int = 0
    waiting: int = 0

    def __str__(self) -> str:
        text = f"{self.sent} sent, {self.deleted} deleted, {self.waiting} still to be done"
        return f"{text}, {self.unknown} with an unknown outcome" if self.unknown else text


def work(budget: Budget | None = None) -> FulfilmentTurn:
    """Send and delete letters as requested, within the budget. SQS errors go to the ledger and are not raised."""
    budget = budget or Budget()
    turn, stop_at = FulfilmentTurn(), monotonic() + budget.seconds
    queues = origins.configured()
    removed_queues.retire_letters()
    if not waiting().exists():
        return turn
    turn.unknown = send_outcomes.give_up_intents()
    send_outcomes.finish_copies()
    turn.sent = replay.settle_requeued() + replay.send_copies(stop_at)
    for dlq in queues:
        if monotonic() < stop_at and has_requests(dlq):
            visited = check_one(dlq, budget).visited
            turn.sent += visited.sent
            turn.deleted += visited.deleted
    turn.waiting = waiting().count()
    return turn


def waiting() -> QuerySet[ReplayAttempt]:
    """Return the requests that are not done yet. One whose outcome is unknown is left out: it waits for a person."""
    return ReplayAttempt.objects.filter(state__in=[State.WANTED, State.REQUEUED, State.SENDING, State.SENT])


def has_requests(dlq: DeadLetterQueue) -> bool:
    """Tell whether a request needs a message of this queue to be held, in order to send or delete it."""
    to_hold = Q(state=State.SENT) | Q(
        state=State.WANTED, action__in=[LetterAction.REPLAY, LetterAction.DISCARD]
    )
    return ReplayAttempt.objects.filter(to_hold, from_copy=False, letter__dlq=dlq).exists()
