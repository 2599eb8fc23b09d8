"""The policy that decides which notifications are sent about an alert, and when.

``alerts.notify`` and ``alerts.sending.reminders`` create the notifications.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from alerts.models import Alert, Notification, Rule
from alerts.models.alert import Severity
from alerts.trouble import Trouble

Kind = Notification.Kind

# Growth by this factor since the last notification is sent even for acknowledged and snoozed alerts.
GROWTH = 10
# For alerts without a rule.
REMINDER_INTERVALS = {
    Severity.CRITICAL: timedelta(hours=4),
    Severity.WARNING: timedelta(days=1),
    Severity.INFO: timedelta(days=7),
}


@dataclass(frozen=True)
class PlannedNotification:
    """A notification to create. ``breaks_through``: send it even if the alert is acknowledged or snoozed."""

    kind: Notification.Kind
    news: str = ""
    breaks_through: bool = False


def next_notification(
    alert: Alert, trouble: Trouble, now: datetime, rule: Rule | None
) -> PlannedNotification | None:
    """Return the notification to create for an open alert after this report, or None."""
    if alert.told_at is None:
        return PlannedNotification(Kind.FIRING)
    growth = _growth(alert.told_value, trouble.value)
    if growth:
        return PlannedNotification(Kind.NEWS, trouble.news or growth, breaks_through=True)
    if trouble.news and (trouble.breaks_through or alert.state == Alert.State.FIRING):
        return PlannedNotification(Kind.NEWS, trouble.news, trouble.breaks_through)
    return PlannedNotification(Kind.REMINDER) if reminder_is_due(alert, now, rule) else None


def _growth(last_value: float | None, value: float | None) -> str:
    if last_value is None or value is None or value < GROWTH * max(last_value, 1):
        return ""
    return f"The value has grown from {last_value:,g} to {value:,g}."


def reminder_is_due(alert: Alert, now: datetime, rule: Rule | None) -> bool:
    """Tell whether the last notification about a firing alert is older than the reminder interval."""
    interval = rule.reminder_interval if rule else REMINDER_INTERVALS[Severity(alert.severity)]
    last_notified_at = alert.told_at
    return (
        alert.state == Alert.State.FIRING
        and last_notified_at is not None
        and now - last_notified_at >= interval
    )
