"""The retention of dead letters: those that were replayed or discarded long ago go; a letter that nobody decided about stays.

Their entries of the ledger stay as well: they are sealed, small, and say who decided what and why.
"""

from __future__ import annotations

from datetime import timedelta

from django.db import connection, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from jobs.models import DeadLetter, ReplayAttempt
from jobs.models.event import recovery_window
from opsconsole.kit.removals import kept
from opsconsole.kit.row_locks import locked_if_free

BATCH = 500
SETTLED = (DeadLetter.State.REPLAYED, DeadLetter.State.DISCARDED)


def kept_for() -> timedelta:
    """Return how long settled letters are kept: for recoveries, those within the window count as failed deliveries."""
    return max(kept("LETTERS"), recovery_window())


def due() -> QuerySet[DeadLetter]:
    """Return letters to delete.

    What a scan saw since stays, because its message is still in the queue, and so does a letter that came back as another.
    """
    limit = Now() - kept_for()
    attempts = ReplayAttempt.objects.filter(letter=OuterRef("pk"))
    undecided = attempts.filter(Q(ended_at=None) | Q(ended_at__gte=limit))
    return (
        DeadLetter.objects.filter(state__in=SETTLED, last_seen_at__lt=limit, first_seen_at__lt=limit)
        .exclude(Exists(undecided))
        .exclude(Exists(DeadLetter.objects.filter(returned_from=OuterRef("pk"))))
    )


def delete() -> int:
    """Delete them in batches; return how many."""
    total = 0
    while True:
        deleted = _delete_batch()
        total += deleted
        if deleted < BATCH:
            return total


def _delete_batch() -> int:
    """Lock some, and then delete those that are due on a new snapshot: whoever decides about a letter holds its lock."""
    with transaction.atomic(), connection.cursor() as cursor:
        ids = list(locked_if_free(due().order_by("first_seen_at", "pk").only("pk"), of=("self",))[:BATCH])
        still_due = due().filter(pk__in=[letter.pk for letter in ids]).values_list("pk", flat=True)
        # Not through the model, which would look for the entries of the ledger and refuse.
        cursor.execute("DELETE FROM dead_letters WHERE id = ANY (%s)", [list(still_due)])
        return int(cursor.rowcount)
