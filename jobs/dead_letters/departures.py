"""Letters that have left their queue, concluded only from good evidence, because SQS may hide messages from a scan.

Good evidence is an empty queue (nothing visible, in flight or delayed, and nothing received), or two consecutive
scans that certainly saw everything.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from jobs.dead_letters.free_letters import FreeLetters
from jobs.letter_ledger import settlement
from jobs.letter_ledger.entries import LetterAction, State
from jobs.models import DeadLetter, DeadLetterQueue, ReplayAttempt
from jobs.models.dead_letter import DeadLetterQuerySet

FULL_SCANS = 2
# The counts of SQS can lag by a minute.
COUNTS_SETTLE = timedelta(minutes=1)


def note_missed(
    dlq: DeadLetterQueue, *, began: datetime, full: bool, empty: bool, free: FreeLetters | None = None
) -> int:
    """Mark the letters that a scan shows to be gone; return how many.

    ``began``: when the scan began; ``full``: it certainly saw everything; ``empty``: the queue held nothing. ``free``
    tells the letters that the scan passed over, because others keep them locked: of these nothing is concluded.
    """
    free = free or FreeLetters()
    absent = _in_the_queue(dlq).filter(last_seen_at__lt=began).exclude(pk__in=list(free.passed_over))
    if full:
        with transaction.atomic():
            mine = free.lock(absent)
            DeadLetter.objects.filter(pk__in=mine).update(missed=F("missed") + 1)
    gone = Q(missed__gte=FULL_SCANS)
    if empty:
        gone |= Q(last_seen_at__lt=began - COUNTS_SETTLE)
    with transaction.atomic():
        return _leave(free.lock(absent.filter(gone)))


def _in_the_queue(dlq: DeadLetterQueue) -> DeadLetterQuerySet:
    waiting = ReplayAttempt.objects.filter(
        state__in=[State.WANTED, State.REQUEUED, State.SENT], from_copy=False
    )
    undecided = Q(state=DeadLetter.State.IN_QUEUE)
    decided = Q(
        state__in=[DeadLetter.State.REPLAYING, DeadLetter.State.DISCARDED],
        pk__in=waiting.values("letter_id"),
    )
    return DeadLetter.objects.filter(undecided | decided, dlq=dlq)


def _leave(ids: list[UUID]) -> int:
    """Record that these locked letters left without the console, and end their requests: done if sent, else not possible."""
    settlement.end_fulfilled(ids, outcome="It was no longer in its queue.")
    requests = ReplayAttempt.objects.filter(letter_id__in=ids)
    unsent = requests.filter(action=LetterAction.REPLAY, state=State.WANTED)
    letters = DeadLetter.objects.filter(pk__in=ids)
    letters.filter(Q(state=DeadLetter.State.IN_QUEUE) | Q(attempts__in=unsent)).update(
        state=DeadLetter.State.GONE
    )
    unsent.update(
        state=State.NOT_DONE,
        ended_at=Now(),
        outcome="It left its queue before the console could hold it.",
    )
    return len(ids)
