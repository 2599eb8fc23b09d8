"""The retention of resolved alerts, their notifications, and test messages."""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from alerts.models import Alert, Notification
from opsconsole.kit.removals import kept
from opsconsole.kit.row_locks import locked_if_free

BATCH = 500
MOST_BATCHES = 20
TESTS_KEPT = timedelta(days=30)


def prune() -> int:
    """Delete old alerts in batches, and return their number. The next run continues."""
    tests = Notification.objects.filter(alert=None, created_at__lt=Now() - TESTS_KEPT)
    tests.filter(pk__in=tests.order_by("pk").values("pk")[:BATCH]).delete()
    total = 0
    for _ in range(MOST_BATCHES):
        deleted = _delete_batch()
        total += deleted
        if deleted < BATCH:
            break
    return total


def old_alerts() -> QuerySet[Alert]:
    return Alert.objects.filter(resolved_at__lt=Now() - kept("ALERTS"))


def _delete_batch() -> int:
    # Nobody can open one of them again before it is gone.
    with transaction.atomic():
        rows = locked_if_free(old_alerts().order_by("pk"))[:BATCH]
        ids = [alert.pk for alert in rows]
        Alert.objects.filter(pk__in=ids).delete()
    return len(ids)
