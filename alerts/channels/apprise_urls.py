"""The adapter for channels through Apprise, each given by a URL: Teams, webhooks and many others."""

from __future__ import annotations

import logging
import re

import apprise

from alerts.channels.http_posts import without_secrets
from alerts.channels.outcome import ChannelAnswer, Outcome
from alerts.channels.wording import AlertMessage, MessageItem

TITLE_LENGTH = 200
BODY_LENGTH = 3_000
_STATUS = re.compile(r"error\s*=\s*(\d{3})")
# HTTP statuses of permanent failures. Apprise logs the status of services that have one.
_PERMANENT = {400, 401, 403, 404, 410}


def understands(url: str) -> bool:
    """Tell whether Apprise supports the URL."""
    return apprise.Apprise().add(url)


def post(url: str, message: AlertMessage) -> ChannelAnswer:
    """Post a message through a URL. Apprise returns only whether it succeeded, and logs the reason if not."""
    channel = apprise.Apprise()
    if not channel.add(url):
        return ChannelAnswer(Outcome.BROKEN, "Apprise does not understand the channel's URL.")
    title, body = texts(message)
    with apprise.LogCapture(level=logging.WARNING) as log:  # type: ignore[no-untyped-call]  # Apprise's
        delivered = channel.notify(
            title=title, body=body, notify_type=_type(message), body_format=apprise.NotifyFormat.TEXT
        )
        log_text = log.getvalue()
    if delivered:
        return ChannelAnswer(Outcome.DELIVERED, "delivered")
    status = _STATUS.search(log_text)
    permanent = status is not None and int(status[1]) in _PERMANENT
    return ChannelAnswer(
        Outcome.BROKEN if permanent else Outcome.AGAIN, _without_secrets(log_text, url) or "not delivered"
    )


def texts(message: AlertMessage) -> tuple[str, str]:
    """Return the title and the body of a message."""
    first, *others = message.items
    lines = [*message.remarks, *(line for item in message.items for line in _lines(item, alone=not others))]
    title = first.headline if not others else f"{len(message.items)} alerts"
    return title[:TITLE_LENGTH], "\n".join(lines)[:BODY_LENGTH] or first.headline


def _lines(item: MessageItem, *, alone: bool) -> list[str]:
    if not alone:
        return [item.headline, *(f"  {url}" for _, url in item.links[:1])]
    facts = [f"{label}: {text}" for label, text in item.facts]
    return [*item.lines, *facts, *(f"{label}: {url}" for label, url in item.links)]


def _type(message: AlertMessage) -> apprise.NotifyType:
    if all(item.good for item in message.items):
        return apprise.NotifyType.SUCCESS
    critical = any(item.severity == "critical" for item in message.items)
    return apprise.NotifyType.FAILURE if critical else apprise.NotifyType.WARNING


def _without_secrets(log_text: str, url: str) -> str:
    """Return the last line of the log, with every part of the URL replaced."""
    return without_secrets((log_text.strip().splitlines() or [""])[-1], url)
