"""The retention of resolved alerts, their notifications, and test messages."""

from __future__ import annotations

from datetime import timedelta

from django.db.models.functions import Now

from alerts.models import Alert, Notification

BATCH = 500
ALERTS_KEPT = timedelta(days=180)
TESTS_KEPT = timedelta(days=30)


def prune() -> int:
    """Delete at most one batch of old alerts, and return their number. The next run continues."""
    tests = Notification.objects.filter(alert=None, created_at__lt=Now() - TESTS_KEPT)
    tests.filter(pk__in=tests.order_by("pk").values("pk")[:BATCH]).delete()
    old = Alert.objects.filter(resolved_at__lt=Now() - ALERTS_KEPT)
    ids = list(old.order_by("pk").values_list("pk", flat=True)[:BATCH])
    old.filter(pk__in=ids).delete()
    return len(ids)
