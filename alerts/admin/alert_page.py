"""What an alert's page shows: the facts, who looks after it, its timeline with every attempt to tell people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.urls import reverse
from django.utils.safestring import SafeString

from alerts import runbooks
from alerts.admin import labels
from alerts.admin.decisions import Decision
from alerts.catalog import KINDS
from alerts.models import Alert, Attempt, Delivery, Notification
from alerts.models.alert import DatedAlert
from opsconsole.kit.display import badge

NOTIFICATIONS_SHOWN = 50


@dataclass(frozen=True)
class Told:
    """One delivery on the timeline, and every attempt at it."""

    label: SafeString
    remark: str
    attempts: Sequence[Attempt]


@dataclass(frozen=True, kw_only=True)
class Entry:
    at: datetime
    what: SafeString
    actor: str = ""
    text: str = ""
    told: Sequence[Told] = field(default_factory=tuple)


def alert_page(alert: DatedAlert, permitted: Sequence[Decision]) -> dict[str, Any]:
    """The context of the page. ``alert`` carries ``db_now``, the database's time."""
    notifications = list(
        alert.notifications.order_by("-pk").prefetch_related("deliveries__attempts")[:NOTIFICATIONS_SHOWN]
    )
    return {
        "title": alert.title,
        "alert": alert,
        "severity": labels.severity(alert.severity),
        "state": labels.state(alert),
        "figure": labels.figure(alert),
        "rule": KINDS.get(alert.rule),
        "review": alert.link if is_safe(alert.link) else "",
        "links": [(label, to) for label, to in alert.links if is_safe(to)],
        "runbook": runbooks.of(alert.rule),
        "timeline": _timeline(alert, notifications),
        "buttons": [_button(alert, decision) for decision in permitted] if alert.open else [],
    }


def is_safe(address: str) -> bool:
    """A page of the console or of the web: no script."""
    return address.startswith(("https://", "http://", "/")) and not address.startswith("//")


def _button(alert: Alert, decision: Decision) -> tuple[str, str, str]:
    url = reverse("admin:alerts_alert_decide", args=[decision]) + f"?id={alert.pk}"
    return decision.value, decision.label, url


def _timeline(alert: Alert, notifications: Iterable[Notification]) -> list[Entry]:
    """What happened, in its order, the newest last."""
    entries = [_of_notification(notification) for notification in notifications]
    entries += [_of_person(entry) for entry in _decisions(alert)]
    if alert.unknown_since:
        why = alert.unknown_why or "No reason was given."
        entries.append(Entry(at=alert.unknown_since, what=badge("Unknown", "warning"), text=why))
    return sorted(entries, key=lambda entry: entry.at)


def _of_notification(notification: Notification) -> Entry:
    deliveries = list(notification.deliveries.all())
    waits = "" if deliveries or notification.addressed_at else "No sender has looked at it yet"
    nobody = "No channel was configured" if notification.addressed_at and not deliveries else ""
    return Entry(
        at=notification.created_at,
        what=labels.kind(notification),
        text=". ".join(filter(None, [notification.news or notification.title, waits or nobody])),
        told=[_told(row) for row in deliveries],
    )


def _told(row: Delivery) -> Told:
    remarks = [
        f"instead of {row.instead_of}" if row.instead_of else "",
        "may be a repeat" * row.may_be_repeat,
    ]
    return Told(labels.delivery(row), ", ".join(filter(None, remarks)), list(row.attempts.all()))


def _decisions(alert: Alert) -> Iterable[LogEntry]:
    of_alert = ContentType.objects.get_for_model(Alert)
    return LogEntry.objects.filter(content_type=of_alert, object_id=str(alert.pk)).select_related("user")


def _of_person(entry: LogEntry) -> Entry:
    verb, _, reason = str(entry.get_change_message()).partition(": ")
    return Entry(
        at=entry.action_time,
        what=badge(verb, labels.STATE.get(verb.lower(), "quiet")),
        actor=entry.user.get_username(),
        text=reason,
    )
