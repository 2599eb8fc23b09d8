"""Fulfil what operators wished: the cluster calls this every minute, and at once when somebody wishes something."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic

from django.db.models import Q, QuerySet

from jobs.dead_letters import origins, replay, sending
from jobs.dead_letters.check import check_one
from jobs.dead_letters.scan import Budget
from jobs.letter_ledger.entries import Action, State
from jobs.models import DeadLetterQueue, ReplayAttempt


@dataclass
class Worked:
    """What one turn did, in letters. ``waiting``: wishes that are still open."""

    sent: int = 0
    deleted: int = 0
    unknown: int = 0
    waiting: int = 0

    def __str__(self) -> str:
        text = f"{self.sent} sent, {self.deleted} deleted, {self.waiting} still to be done"
        return f"{text}, {self.unknown} with an unknown outcome" if self.unknown else text


def work(budget: Budget | None = None) -> Worked:
    """Send and delete what is wished, as far as the budget goes. What SQS refuses is in the ledger, not raised."""
    budget = budget or Budget()
    done, stop_at = Worked(), monotonic() + budget.seconds
    done.unknown = sending.give_up_intents()
    done.sent = replay.settle_requeued() + replay.send_copies(stop_at)
    for dlq in origins.configured():
        if monotonic() < stop_at and has_wishes(dlq):
            visited = check_one(dlq, budget).visited
            done.sent += visited.sent
            done.deleted += visited.deleted
    done.waiting = waiting().count()
    return done


def waiting() -> QuerySet[ReplayAttempt]:
    """What is wished and not done yet. One whose outcome is unknown waits for a person."""
    return ReplayAttempt.objects.filter(state__in=[State.WANTED, State.REQUEUED, State.SENDING, State.SENT])


def has_wishes(dlq: DeadLetterQueue) -> bool:
    """Whether a message of this queue is to be held: sent and deleted, or deleted."""
    to_hold = Q(state=State.SENT) | Q(state=State.WANTED, action__in=[Action.REPLAY, Action.DISCARD])
    return ReplayAttempt.objects.filter(to_hold, from_copy=False, letter__dlq=dlq).exists()
