"""The text of messages, in a form that every channel can show. It never contains the body of a job's message.

What strangers wrote, such as an error or a customer's id, shows what nobody sees as escapes: it could turn a line around or hide a
part of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urljoin, urlsplit

from django.conf import settings
from django.utils.text import capfirst

from alerts.catalog import RULES
from alerts.models import Alert, Delivery, Notification
from alerts.trouble import shown_facts
from opsconsole.kit import addresses
from opsconsole.kit.characters import made_visible
from opsconsole.kit.durations import spell

Kind = Notification.Kind
Links = tuple[tuple[str, str], ...]

REPEAT = "This may be a repeat: the outcome of an earlier attempt is unknown."
TEST = "This is a test message. The channel works."


@dataclass(frozen=True, kw_only=True)
class MessageItem:
    """The text about one alert or one test. ``incident`` identifies the alert to services that open incidents.

    ``alert``: its number, where people can still decide about it.
    """

    kinds: tuple[Notification.Kind, ...]
    severity: str
    title: str
    headline: str
    lines: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    links: Links = ()
    incident: str = ""
    alert: int | None = None

    @property
    def good(self) -> bool:
        """Whether this is good news: a resolved alert or a test."""
        return self.kinds[-1] in {Kind.RESOLVED, Kind.TEST}


@dataclass(frozen=True, kw_only=True)
class AlertMessage:
    """A message to a channel.

    ``remarks`` come first, such as a possible repeat or a failed channel. ``plain``: use the simplest format.
    """

    items: tuple[MessageItem, ...]
    remarks: tuple[str, ...] = ()
    plain: bool = False


def compose(deliveries: Sequence[Delivery], now: datetime, *, plain: bool = False) -> AlertMessage:
    """Compose one message from the deliveries of one channel, in the order of their creation."""
    by_alert: dict[int | None, list[Notification]] = {}
    for delivery in deliveries:
        notification = delivery.notification
        by_alert.setdefault(notification.alert_id, []).append(notification)
    return AlertMessage(
        items=tuple(_item(notifications, now) for notifications in by_alert.values()),
        remarks=tuple(_remarks(deliveries)),
        plain=plain,
    )


def _remarks(deliveries: Sequence[Delivery]) -> list[str]:
    remarks = [REPEAT] if any(delivery.may_be_repeat for delivery in deliveries) else []
    failed = sorted({delivery.instead_of for delivery in deliveries if delivery.instead_of})
    return remarks + [f"Sent here because the channel '{name}' does not accept messages." for name in failed]


def _item(notifications: Sequence[Notification], now: datetime) -> MessageItem:
    last = notifications[-1]
    kinds = tuple(Kind(notification.kind) for notification in notifications)
    if last.alert is None:
        link = absolute(addresses.of_list("alerts_channel"))
        links = (("Open channels", link),) if link else ()
        return MessageItem(
            kinds=kinds, severity="info", title=last.title, headline=f"Test: {TEST}", links=links
        )
    title = made_visible(" ".join(last.title.split()))
    return MessageItem(
        kinds=kinds,
        severity=last.severity,
        title=title,
        headline=f"{_opening(kinds, last.alert, now)}: {title}",
        lines=tuple(map(made_visible, _lines(notifications, last.alert))),
        facts=tuple((made_visible(label), made_visible(text)) for label, text in shown_facts(last.facts)),
        links=_links(last, last.alert),
        incident=f"opsconsole-{last.alert.incident_key}",
        alert=last.alert.pk if last.alert.open and kinds[-1] != Kind.RESOLVED else None,
    )


def _opening(kinds: Sequence[Notification.Kind], alert: Alert, now: datetime) -> str:
    duration = spell((alert.resolved_at or now) - alert.since)
    match kinds[-1]:
        case Kind.RESOLVED if Kind.FIRING in kinds:
            return f"Fired and resolved within {duration}"
        case Kind.RESOLVED:
            return f"Resolved after {duration}"
        case Kind.REMINDER:
            return f"Still firing after {duration}"
        case _ if Kind.FIRING in kinds:
            return "Firing"
        case _:
            return "Update"


def _lines(notifications: Sequence[Notification], alert: Alert) -> list[str]:
    last = notifications[-1]
    lines = list(dict.fromkeys(each.news for each in notifications if each.news))
    if last.kind != Kind.RESOLVED and last.summary:
        lines.append(last.summary)
    if alert.open and alert.unknown_since:
        lines.append(f"The figure cannot be read at present. {alert.why_unknown}")
    return [*lines, figures(last, alert)]


def figures(last: Notification, alert: Alert) -> str:
    """Return the figures, such as 'Value 6, threshold 5, critical, since 2026-11-24 19:02 UTC.'"""
    parts = [] if last.value is None else [f"Value {last.value:,g}"]
    parts += [] if last.threshold is None else [f"threshold {last.threshold:,g}"]
    parts += [last.severity, f"since {alert.since:%Y-%m-%d %H:%M} UTC"]
    return capfirst(", ".join(parts)) + "."


def _links(last: Notification, alert: Alert) -> Links:
    page = addresses.of_row("alerts_alert", alert.pk)
    targets = [("Review", last.link or page), *_links_for_everybody(last)]
    if last.link:
        targets.append(("Open alert", page))
    if alert.rule in RULES:
        targets.append(("Open runbook", f"{page}#runbook"))
    return tuple((label, url) for label, to in targets if (url := absolute(to)))


def _links_for_everybody(last: Notification) -> Iterator[tuple[str, str]]:
    """Yield the links of a message but those to customers, of which it would have more than of what to do."""
    for label, to in last.links:
        if not addresses.is_of_customer(str(to)):
            yield str(label), str(to)


def absolute(link: str) -> str:
    """Return the full URL of a console page, or "" if ``OPSCONSOLE_PUBLIC_URL`` is not set."""
    if link.startswith(("https://", "http://")):
        return link
    public = (settings.OPSCONSOLE_PUBLIC_URL or "").rstrip("/")
    place = addresses.below(urlsplit(public).path, addresses.mounted(link))
    return urljoin(public, place) if public else ""
