"""Channels other than Slack, each named by a URL that Apprise understands: e-mail, PagerDuty, Teams, webhooks."""

from __future__ import annotations

import logging
import re
from urllib.parse import unquote

import apprise

from alerts.channels.outcome import ANSWER_LENGTH, Answer, Outcome
from alerts.channels.wording import Item, Message

TITLE_LENGTH = 200
BODY_LENGTH = 3_000
SHORTEST_SECRET = 4
_STATUS = re.compile(r"error\s*=\s*(\d{3})")
# Its services report an HTTP status when they have one; these don't pass by themselves.
_FOR_GOOD = {400, 401, 403, 404, 410}


def understands(url: str) -> bool:
    """Whether Apprise knows what to do with it."""
    return apprise.Apprise().add(url)


def post(url: str, message: Message) -> Answer:
    """Tell one message by one URL. Apprise says whether it went, and why not only in its log."""
    channel = apprise.Apprise()
    if not channel.add(url):
        return Answer(Outcome.BROKEN, "Apprise does not understand the channel's URL.")
    title, body = _texts(message)
    with apprise.LogCapture(level=logging.WARNING) as log:  # type: ignore[no-untyped-call]
        told = channel.notify(
            title=title, body=body, notify_type=_type(message), body_format=apprise.NotifyFormat.TEXT
        )
        said = log.getvalue()
    if told:
        return Answer(Outcome.DELIVERED, "delivered")
    status = _STATUS.search(said)
    for_good = status is not None and int(status[1]) in _FOR_GOOD
    return Answer(
        Outcome.BROKEN if for_good else Outcome.AGAIN, _without_secrets(said, url) or "not delivered"
    )


def _texts(message: Message) -> tuple[str, str]:
    first, *others = message.items
    lines = [*message.remarks, *(line for item in message.items for line in _lines(item, alone=not others))]
    title = first.headline if not others else f"{len(message.items)} alerts"
    return title[:TITLE_LENGTH], "\n".join(lines)[:BODY_LENGTH] or first.headline


def _lines(item: Item, *, alone: bool) -> list[str]:
    if not alone:
        return [item.headline, *(f"  {url}" for _, url in item.links[:1])]
    facts = [f"{label}: {text}" for label, text in item.facts]
    return [*item.lines, *facts, *(f"{label}: {url}" for label, url in item.links)]


def _type(message: Message) -> apprise.NotifyType:
    if all(item.well for item in message.items):
        return apprise.NotifyType.SUCCESS
    critical = any(item.severity == "critical" for item in message.items)
    return apprise.NotifyType.FAILURE if critical else apprise.NotifyType.WARNING


def _without_secrets(said: str, url: str) -> str:
    """The last line of the log, with every piece of the URL taken out of it."""
    line = (said.strip().splitlines() or [""])[-1]
    pieces = re.split(r"[/:@?&=#,]+", url)[1:]
    for piece in sorted({*pieces, *map(unquote, pieces)}, key=len, reverse=True):
        if len(piece) >= SHORTEST_SECRET:
            line = line.replace(piece, "***")
    return line[:ANSWER_LENGTH]
