"""The policy that decides which notifications are sent about an alert, and when.

``alerts.notify`` and ``alerts.sending.reminders`` create the notifications.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from alerts import rules
from alerts.models import Alert, Notification, Rule
from alerts.models.alert import Severity
from alerts.trouble import Trouble, storable

Kind = Notification.Kind

NEWS_LENGTH = 3_000
# Growth by this factor since the last notification is sent even for acknowledged and snoozed alerts.
GROWTH = 10
SEVERITIES = list(Severity)
# For alerts without a rule.
NEWS_INTERVAL = timedelta(minutes=15)
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


@dataclass(frozen=True)
class HeldNews:
    """All news that waits, because the last message about the alert was a short time ago."""

    news: str
    breaks_through: bool


def next_notification(
    alert: Alert, trouble: Trouble, now: datetime, rule: Rule | None
) -> PlannedNotification | HeldNews | None:
    """Return the notification to create for an open alert after this report, the news to keep for later, or None.

    Until an alert has told anything, it is new. It is old and silent if it opened during a snooze.
    """
    if alert.told_at is None and alert.state == Alert.State.FIRING:
        return PlannedNotification(Kind.FIRING)
    kind = Kind.NEWS if alert.told_at else Kind.FIRING
    held = "" if trouble.is_all_news and trouble.news else alert.held_news
    news = joined(held, trouble.news)
    breaks = alert.held_breaks_through or bool(trouble.news and trouble.breaks_through)
    rise = _rise(alert, rules.severity_of(rule, Severity(trouble.severity)))
    growth = _growth(alert.told_value, trouble.value)
    if rise or growth:
        return PlannedNotification(kind, joined(rise, news or growth), breaks_through=True)
    if not news or not (breaks or alert.state == Alert.State.FIRING):
        return PlannedNotification(Kind.REMINDER) if reminder_is_due(alert, now, rule) else None
    if news_is_due(alert, now, rule):
        return PlannedNotification(kind, news, breaks)
    return HeldNews(news, breaks)


def joined(*sentences: str) -> str:
    """Join what is new, and cut it to a length that can be stored and read."""
    return storable(" ".join(filter(None, sentences)), NEWS_LENGTH)


def news_is_due(alert: Alert, now: datetime, rule: Rule | None) -> bool:
    """Tell whether the last message about the alert is so long ago that news can be sent."""
    interval = rule.news_interval if rule else NEWS_INTERVAL
    return alert.told_at is None or now - alert.told_at >= interval


def may_resolve(alert: Alert, now: datetime, rule: Rule | None) -> bool:
    """Tell whether the problem of an alert has been away for as long as its rule requires."""
    keep = rule.keep_firing_for if rule and rule.enabled else timedelta(0)
    return not keep or (alert.clear_since is not None and now - alert.clear_since >= keep)


def _rise(alert: Alert, severity: Severity) -> str:
    before = Severity(alert.told_severity or alert.severity)
    if SEVERITIES.index(severity) <= SEVERITIES.index(before):
        return ""
    return f"The severity has risen from {before} to {severity}."


def _growth(last_value: float | None, value: float | None) -> str:
    if last_value is None or value is None or value < GROWTH * max(last_value, 1):
        return ""
    return f"The value has grown from {last_value:,g} to {value:,g}."


def reminder_is_due(alert: Alert, now: datetime, rule: Rule | None) -> bool:
    """Tell whether the last notification about a firing alert is older than the reminder interval.

    While the problem is away, there is nothing to remind of.
    """
    interval = rule.reminder_interval if rule else REMINDER_INTERVALS[Severity(alert.severity)]
    last_notified_at = alert.told_at
    return (
        alert.state == Alert.State.FIRING
        and alert.clear_since is None
        and last_notified_at is not None
        and now - last_notified_at >= interval
    )
