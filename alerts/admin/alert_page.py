"""The context of an alert's page: its facts, and a timeline with decisions, notifications and delivery attempts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.text import capfirst

from alerts import rules, runbooks
from alerts.admin import labels, last_notification
from alerts.catalog import RULES
from alerts.models import Alert, Attempt, Delivery, Notification
from alerts.models.alert import DatedAlert
from alerts.operator_decisions import Decision
from alerts.trouble import shown_facts
from opsconsole.kit import addresses, audit
from opsconsole.kit.display import badge
from opsconsole.kit.page_permissions import Person, may_open, may_see

NOTIFICATIONS_SHOWN = 50
LONGEST_IN_COLUMN = 36


@dataclass(frozen=True)
class DeliveryLine:
    """A delivery on the timeline, with all attempts at it."""

    label: SafeString
    remark: str
    attempts: Sequence[Attempt]


@dataclass(frozen=True, kw_only=True)
class TimelineEntry:
    at: datetime
    label: SafeString
    actor: str = ""
    text: str = ""
    deliveries: Sequence[DeliveryLine] = field(default_factory=tuple)


def alert_page(alert: DatedAlert, permitted: Sequence[Decision], user: Person) -> dict[str, Any]:
    """Return the context of the page, as far as this person may see it.

    ``alert`` is annotated with ``db_now``, the database's time.
    """
    notifications = list(
        alert.notifications.order_by("-pk").prefetch_related("deliveries__attempts")[:NOTIFICATIONS_SHOWN]
    )
    rule = RULES.get(alert.rule)
    return {
        "title": alert.title,
        "alert": alert,
        "facts": [(label, text, _is_long(text)) for label, text in shown_facts(alert.facts)],
        "severity": labels.severity(alert.severity),
        "state": labels.state(alert),
        "value": labels.value_and_threshold(alert, rule.unit if rule else ""),
        "rule": rule,
        "last_notification": last_notification.in_words(alert, notifications),
        "resolves_at": _resolves_at(alert),
        "review": addresses.mounted(alert.link) if is_safe(alert.link) and may_open(user, alert.link) else "",
        "links": [(label, addresses.mounted(to)) for label, to in _links(alert, user)],
        "runbook": runbooks.find(alert.rule),
        "timeline": _timeline(alert, notifications, user),
        "buttons": [_button(alert, decision) for decision in permitted if _is_open_to(alert, decision)],
    }


def _resolves_at(alert: Alert) -> datetime | None:
    """Return when the alert resolves if the problem stays away."""
    rule = rules.for_fingerprint(alert.fingerprint)
    return alert.clear_since + rule.keep_firing_for if rule and alert.clear_since else None


def is_safe(address: str) -> bool:
    """Tell whether an address is a web page or a console page, rather than a script."""
    return address.startswith(("https://", "http://", "/")) and not address.startswith("//")


def _links(alert: Alert, user: Person) -> list[tuple[str, str]]:
    """Return the alert's links. Those to pages of the console are for whoever may open them."""
    return [(label, to) for label, to in alert.links if is_safe(to) and may_open(user, to)]


def _is_open_to(alert: Alert, decision: Decision) -> bool:
    """Tell whether the decision would change the alert."""
    return alert.open and not (decision == Decision.ACKNOWLEDGE and alert.state == Alert.State.ACKNOWLEDGED)


def _is_long(text: str) -> bool:
    """Tell whether a fact needs the width of the page."""
    return "\n" in text or len(text) > LONGEST_IN_COLUMN


def _button(alert: Alert, decision: Decision) -> tuple[str, str, str]:
    url = reverse("admin:alerts_alert_decide", args=[decision]) + f"?id={alert.pk}"
    return decision.value, decision.label, url


def _timeline(alert: Alert, notifications: Iterable[Notification], user: Person) -> list[TimelineEntry]:
    """Return the entries of the timeline, newest first. Deliveries quote the channels, decisions the audit."""
    entries = [_notification_entry(notification) for notification in notifications]
    if not may_see(user, "alerts_channel"):
        entries = [replace(entry, deliveries=()) for entry in entries]
    if may_see(user, "admin_logentry"):
        entries += [_decision_entry(entry) for entry in _decisions(alert)]
    if alert.unknown_since:
        entries.append(
            TimelineEntry(at=alert.unknown_since, label=badge("Unknown", "warning"), text=alert.why_unknown)
        )
    # Stable: what is of one moment stays as it was read, newest first.
    return sorted(entries, key=lambda entry: entry.at, reverse=True)


def _notification_entry(notification: Notification) -> TimelineEntry:
    deliveries = list(notification.deliveries.all())
    pending = (
        "" if deliveries or notification.addressed_at else "No sender has processed this notification yet"
    )
    nobody = "No channel was configured" if notification.addressed_at and not deliveries else ""
    return TimelineEntry(
        at=notification.created_at,
        label=labels.kind(notification),
        text=_in_sentences(notification.news or notification.title, pending or nobody),
        deliveries=[_delivery_line(row) for row in deliveries],
    )


def _delivery_line(row: Delivery) -> DeliveryLine:
    remarks = [
        f"instead of {row.instead_of}" if row.instead_of else "",
        "may be a repeat" * row.may_be_repeat,
    ]
    return DeliveryLine(labels.delivery(row), ", ".join(filter(None, remarks)), list(row.attempts.all()))


def _decisions(alert: Alert) -> Iterable[LogEntry]:
    of_alert = ContentType.objects.get_for_model(Alert)
    return audit.with_details(LogEntry.objects.filter(content_type=of_alert, object_id=str(alert.pk)))


def _decision_entry(entry: LogEntry) -> TimelineEntry:
    parts = audit.parts_of(entry)
    # Older lines hold the reason behind a colon.
    verb, _, reason = parts.did.partition(": ")
    verb, _, until = verb.rstrip(".").partition(" ")
    return TimelineEntry(
        at=entry.action_time,
        label=badge(verb, labels.STATE.get(verb.lower(), "quiet")),
        actor=audit.who(entry),
        text=_in_sentences(capfirst(until), reason, parts.why),
    )


def _in_sentences(*texts: str) -> str:
    """Join texts, some of which end with a full stop."""
    *before, last = [text for text in texts if text] or [""]
    return " ".join([*(f"{text.rstrip('.')}." for text in before), last])
