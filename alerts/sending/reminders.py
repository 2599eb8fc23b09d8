"""Reminders of alerts that still fire, and the end of snoozes."""

from __future__ import annotations

from django.db import transaction
from django.db.models.functions import Now

from alerts import notification_policy, notify, rules
from alerts.models import Alert, Notification
from opsconsole.kit.row_locks import locked_if_free

BATCH = 1_000


def remind() -> int:
    """Create the notifications that are due, each once however many senders run. Return the number of alerts."""
    with transaction.atomic():
        return _end_snoozes() + _remind()


def _end_snoozes() -> int:
    alerts = list(locked_if_free(Alert.objects.snooze_over())[:BATCH])
    for alert in alerts:
        changes = {"state": Alert.State.FIRING, "snoozed_until": None, "told_at": Now()}
        Alert.objects.filter(pk=alert.pk).update(**changes, told_value=alert.value)
        alert.refresh_from_db()
        notify.create_notification(
            alert, Notification.Kind.REMINDER, f"The snooze by {alert.handled_by} has ended."
        )
    return len(alerts)


def _remind() -> int:
    candidates = Alert.objects.firing().filter(told_at__lte=Now() - rules.SHORTEST_REMINDER)
    rows = list(locked_if_free(candidates).annotate(db_now=Now()).order_by("told_at")[:BATCH])
    by_name = rules.all_by_name()
    due = [row for row in rows if notification_policy.reminder_is_due(row, row.db_now, by_name.get(row.rule))]
    for alert in due:
        Alert.objects.filter(pk=alert.pk).update(told_at=Now(), told_value=alert.value)
        notify.create_notification(alert, Notification.Kind.REMINDER)
    return len(due)
