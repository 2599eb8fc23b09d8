"""What is worth telling about an alert, and when. Pure: ``alerts.notify`` and ``alerts.sending.reminders`` write it down."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from alerts.models import Alert, Notification, Rule
from alerts.models.alert import Severity
from alerts.trouble import Trouble

Kind = Notification.Kind

# So many times the figure that people were told last is news, whoever looks after it.
GROWTH = 10
# For alerts that belong to no rule.
REMIND = {
    Severity.CRITICAL: timedelta(hours=4),
    Severity.WARNING: timedelta(days=1),
    Severity.INFO: timedelta(days=7),
}


@dataclass(frozen=True)
class Telling:
    """``breaks_through``: it is told although somebody looks after the alert."""

    kind: Notification.Kind
    news: str = ""
    breaks_through: bool = False


def about(alert: Alert, trouble: Trouble, now: datetime, rule: Rule | None) -> Telling | None:
    """What is to be told of an open alert that is in this trouble now; None: nothing."""
    if alert.told_at is None:
        return Telling(Kind.FIRING)
    grown = _growth(alert.told_value, trouble.value)
    if grown:
        return Telling(Kind.NEWS, trouble.news or grown, breaks_through=True)
    if trouble.news and (trouble.breaks_through or alert.state == Alert.State.FIRING):
        return Telling(Kind.NEWS, trouble.news, trouble.breaks_through)
    return Telling(Kind.REMINDER) if reminder_is_due(alert, now, rule) else None


def _growth(told: float | None, value: float | None) -> str:
    if told is None or value is None or value < GROWTH * max(told, 1):
        return ""
    return f"Grown from {told:,g} to {value:,g}."


def reminder_is_due(alert: Alert, now: datetime, rule: Rule | None) -> bool:
    """Whether people were last told of a firing alert longer ago than its reminder interval."""
    interval = rule.reminder_interval if rule else REMIND[Severity(alert.severity)]
    told = alert.told_at
    return alert.state == Alert.State.FIRING and told is not None and now - told >= interval
