"""What time alone brings about: a reminder of an alert that still fires, and the end of a snooze."""

from __future__ import annotations

from django.db import transaction
from django.db.models.functions import Now

from alerts import notification_policy, notify, rules
from alerts.models import Alert, Notification

AT_ONCE = 1_000


def remind() -> int:
    """Tell what is due, each once however many do so at the same time; returns how many alerts it were."""
    with transaction.atomic():
        return _end_snoozes() + _remind()


def _end_snoozes() -> int:
    over = list(Alert.objects.snooze_over().select_for_update(skip_locked=True)[:AT_ONCE])
    for alert in over:
        changes = {"state": Alert.State.FIRING, "snoozed_until": None, "told_at": Now()}
        Alert.objects.filter(pk=alert.pk).update(**changes, told_value=alert.value)
        alert.refresh_from_db()
        notify.tell(alert, Notification.Kind.REMINDER, f"The snooze of {alert.handled_by} is over.")
    return len(over)


def _remind() -> int:
    told = Alert.objects.firing().filter(told_at__lte=Now() - rules.SHORTEST_REMINDER)
    rows = list(told.select_for_update(skip_locked=True).annotate(db_now=Now()).order_by("told_at")[:AT_ONCE])
    applied = rules.all_by_name()
    due = [row for row in rows if notification_policy.reminder_is_due(row, row.db_now, applied.get(row.rule))]
    for alert in due:
        Alert.objects.filter(pk=alert.pk).update(told_at=Now(), told_value=alert.value)
        notify.tell(alert, Notification.Kind.REMINDER)
    return len(due)
