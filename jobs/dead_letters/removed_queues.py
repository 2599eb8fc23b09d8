"""Dead letter queues that left the settings: their letters stay as copies in the console, and their alerts end.

Nothing reads such a queue any more, so no request can hold its messages. When the queue is configured again, the next
scan finds the messages that are still there, and their letters are in the queue as before.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from alerts import notify
from alerts.watch import monitor_alerts
from jobs.dead_letters import origins
from jobs.dead_letters.free_letters import FreeLetters
from jobs.letter_ledger import entries, settlement
from jobs.letter_ledger.entries import LetterAction, NewEntry, State
from jobs.models import DeadLetter, DeadLetterQueue, ReplayAttempt
from jobs.runs.timeline import Actor

logger = logging.getLogger("jobs.dead_letters")

REASON = "Its dead letter queue was removed from the settings."
GOES_ON = f"{REASON} The console continues from the stored copy."
NOT_DELETED = f"{REASON} The message was not deleted there."

# The rules whose alerts are about one dead letter queue each.
RULES = ("dlq_not_empty", "dead_letters_expiring", "dlq_unreadable")
PAGE = 500
BEGINNING = UUID(int=0)


def retire_letters() -> int:
    """Settle the letters of dead letter queues that are no longer configured; return how many.

    Undecided letters become copies in the console. Replays continue from the copies. What only remained to be deleted is
    done. Those that others keep locked are left for the next call.
    """
    retired, behind, free = 0, BEGINNING, FreeLetters()
    while ids := list(_concerned().filter(pk__gt=behind).order_by("pk").distinct()[:PAGE]):
        behind = ids[-1]
        with transaction.atomic():
            retired += _retire(ids, free)
    if free.passed_over:
        logger.warning("%d letters of removed queues are locked by others.", len(free.passed_over))
    return retired


def end_alerts() -> None:
    """End the alerts and monitors of all queues that are not configured, also of those that have another name now."""
    names = [str(dlq) for dlq in origins.known()]
    for rule in RULES:
        notify.end_other_scopes(rule, names, news=REASON)
    monitor_alerts.end_others(
        monitor_alerts.DLQ_CHECK, [monitor_alerts.of_queue(name) for name in names], news=REASON
    )


def _concerned() -> QuerySet[DeadLetter, UUID]:
    removed = DeadLetterQueue.objects.exclude(pk__in=origins.known().values("pk")).values("pk")
    undecided = Q(state=DeadLetter.State.IN_QUEUE)
    requested = Q(
        state__in=[DeadLetter.State.REPLAYING, DeadLetter.State.DISCARDED], attempts__in=_requests()
    )
    return DeadLetter.objects.filter(undecided | requested, dlq__in=removed).values_list("pk", flat=True)


def _requests() -> QuerySet[ReplayAttempt]:
    """Return the open requests that need a message of the queue to be held."""
    return ReplayAttempt.objects.filter(state__in=[State.WANTED, State.SENT], from_copy=False)


def _retire(ids: Sequence[UUID], free: FreeLetters) -> int:
    letters = free.lock(DeadLetter.objects.filter(pk__in=ids))
    settlement.end_fulfilled(letters, outcome=NOT_DELETED)
    _continue_from_copies(letters)
    in_queue = DeadLetter.objects.filter(pk__in=letters, state=DeadLetter.State.IN_QUEUE)
    in_queue.update(state=DeadLetter.State.KEPT)
    return len(letters)


def _continue_from_copies(letters: Sequence[UUID]) -> None:
    """Replace each replay that waits for its message by one from the stored copy, by the same person for the same reason."""
    waiting = _requests().filter(letter_id__in=letters, action=LetterAction.REPLAY, state=State.WANTED)
    replays = list(waiting.order_by("pk"))
    waiting.update(state=State.NOT_DONE, ended_at=Now(), outcome=GOES_ON)
    entries.write(
        [
            NewEntry(
                replay.letter_id,
                LetterAction.REPLAY,
                State.WANTED,
                Actor(replay.actor, replay.user_id),
                replay.reason,
                from_copy=True,
                edited_body=replay.edited_body,
            )
            for replay in replays
        ]
    )
