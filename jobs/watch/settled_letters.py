"""The retention of dead letters: those that were replayed or discarded long ago go; a letter that nobody decided about stays.

Their entries of the ledger stay as well: they are sealed, small, and say who decided what and why. The group of a failure goes after
its last letter, unless somebody noted what is known about it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from django.db import connection, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from jobs.models import DeadLetter, FailureGroup, ReplayAttempt
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


def empty_groups() -> QuerySet[FailureGroup]:
    """Return groups to delete: their letters are gone, and nobody noted anything."""
    unnoted = FailureGroup.objects.filter(note="", last_seen_at__lt=Now() - kept_for())
    return unnoted.exclude(Exists(DeadLetter.objects.filter(group=OuterRef("pk"))))


def delete() -> int:
    """Delete letters in batches; return how many."""
    return _in_batches(_delete_letters)


def delete_empty_groups() -> int:
    """Delete groups in batches; return how many."""
    return _in_batches(_delete_groups)


def _in_batches(delete_some: Callable[[], int]) -> int:
    total = 0
    while True:
        deleted = delete_some()
        total += deleted
        if deleted < BATCH:
            return total


def _delete_letters() -> int:
    """Lock some, and then delete those that are due on a new snapshot: whoever decides about a letter holds its lock."""
    with transaction.atomic(), connection.cursor() as cursor:
        ids = list(locked_if_free(due().order_by("first_seen_at", "pk").only("pk"), of=("self",))[:BATCH])
        still_due = due().filter(pk__in=[letter.pk for letter in ids]).values_list("pk", flat=True)
        # Not through the model, which would look for the entries of the ledger and refuse.
        cursor.execute("DELETE FROM dead_letters WHERE id = ANY (%s)", [list(still_due)])
        return int(cursor.rowcount)


def _delete_groups() -> int:
    """Lock some, and delete those that are due on a new snapshot. A scan that sees a failure again changes the row of its group."""
    with transaction.atomic(), connection.cursor() as cursor:
        ids = list(locked_if_free(empty_groups().order_by("pk").only("pk"), of=("self",))[:BATCH])
        still_due = empty_groups().filter(pk__in=[group.pk for group in ids]).values_list("pk", flat=True)
        cursor.execute("DELETE FROM failure_groups WHERE id = ANY (%s)", [list(still_due)])
        return int(cursor.rowcount)
