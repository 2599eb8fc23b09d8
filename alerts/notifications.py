"""Notifications about an alert, created in the transaction that changes the alert. A sender finds them after the commit."""

from __future__ import annotations

import logging
from typing import Any

from django.db.models import F
from django.db.models.functions import Now

from alerts import notification_policy
from alerts.models import Alert, Notification
from opsconsole.kit import activity


def tell(alert: Alert, kind: Notification.Kind, news: str = "", **changes: Any) -> None:
    """Change an open alert that the caller's transaction has locked, and create a notification about it."""
    if changes:
        Alert.objects.filter(pk=alert.pk).update(**changes)
    Alert.objects.filter(pk=alert.pk).update(
        told_at=Now(),
        told_value=F("value"),
        told_severity=F("severity"),
        held_news="",
        held_breaks_through=False,
    )
    _create(alert, kind, news)


def close(alert: Alert, *, news: str = "", **changes: Any) -> None:
    """Resolve an open alert that the caller's transaction has locked, and create a notification.

    News that still waited is part of it. About an alert that opened and resolved during a snooze, there is none.
    """
    resolved = {
        "state": Alert.State.RESOLVED,
        "resolved_at": Now(),
        "unknown_since": None,
        "unknown_why": "",
        "clear_since": None,
        "held_news": "",
        "held_breaks_through": False,
    }
    Alert.objects.filter(pk=alert.pk).update(**resolved | changes)
    if alert.told_at is not None:
        _create(alert, Notification.Kind.RESOLVED, notification_policy.joined(alert.held_news, news))


def _create(alert: Alert, kind: Notification.Kind, news: str) -> None:
    """Create a notification with the alert as it is stored now."""
    alert.refresh_from_db()
    activity.done(
        f"alert {kind}",
        level=logging.WARNING if kind == Notification.Kind.FIRING else logging.INFO,
        alert=alert.pk,
        fingerprint=alert.fingerprint,
        severity=alert.severity,
    )
    Notification.objects.create(
        alert=alert,
        kind=kind,
        news=news,
        severity=alert.severity,
        title=alert.title,
        summary=alert.summary,
        value=alert.value,
        threshold=alert.threshold,
        link=alert.link,
        facts=alert.facts,
        links=alert.links,
    )
