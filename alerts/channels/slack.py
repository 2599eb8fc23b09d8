"""The one adapter that knows Slack: Block Kit, its limits, and what its answers mean.

https://api.slack.com/messaging/webhooks says which answers are for good; a webhook answers 200 and ``ok`` on success.
Whoever goes on posting through 429 can be shut out, so ``Retry-After`` is handed back to the sender.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import requests
from urllib3.exceptions import MaxRetryError, NewConnectionError

from alerts.channels.outcome import Answer, Outcome
from alerts.channels.wording import Item, Message

CONNECT_SECONDS, READ_SECONDS = 5, 10
ANSWER_BYTES = 1_000
# Slack allows 50 blocks, 3,000 characters of text in one, 10 fields of 2,000, 75 on a button, 3,000 in a URL.
MOST_BLOCKS, MOST_ITEMS, MOST_BUTTONS = 45, 10, 5
TEXT, FIELD, LABEL, BUTTON, URL = 2_500, 900, 150, 70, 2_900
LONGEST_WAIT = timedelta(hours=1)
MARKS = {"critical": "🔴", "warning": "🟠", "info": "🔵"}
# Its own word tells Slack's answer from that of a proxy on the way, which may be another in a minute.
_WORD = re.compile(r"[a-z][a-z_]{2,60}")
_GONE = {
    "user_not_found",
    "channel_not_found",
    "channel_is_archived",
    "invalid_token",
    "no_service",
    "no_team",
}


def post(webhook: str, message: Message) -> Answer:
    """Post one message; every failure is an answer. Takes as long as the server, see ``alerts.sending.delivery``."""
    try:
        with requests.post(
            webhook,
            json=payload(message),
            timeout=(CONNECT_SECONDS, READ_SECONDS),
            allow_redirects=False,
            stream=True,
        ) as response:
            body = response.raw.read(ANSWER_BYTES, decode_content=True).decode(errors="replace").strip()
            return meaning(response.status_code, body, response.headers.get("Retry-After", ""))
    except requests.RequestException as error:
        # Its text holds the webhook's address, which is a secret.
        return Answer(Outcome.AGAIN if _was_not_sent(error) else Outcome.UNKNOWN, _named(error))
    except OSError as error:
        return Answer(Outcome.UNKNOWN, _named(error))


def _was_not_sent(error: requests.RequestException) -> bool:
    """Whether the connection never stood, so that Slack can't have read anything."""
    if isinstance(error, (requests.ConnectTimeout, requests.exceptions.SSLError)):
        return True
    cause = error.args[0] if error.args else None
    return isinstance(cause, MaxRetryError) and isinstance(cause.reason, NewConnectionError)


def _named(error: Exception) -> str:
    return f"No answer ({type(error).__name__})"


def meaning(status: int, body: str, retry_after: str = "") -> Answer:
    """What an answer of Slack's means for the message and for the channel."""
    text = f"{status} {body}"[:200]
    word = bool(_WORD.fullmatch(body))
    if status == 200:
        # Something else than Slack may have swallowed it.
        return Answer(Outcome.DELIVERED if body == "ok" else Outcome.UNKNOWN, text)
    if status == 429:
        return Answer(Outcome.AGAIN, text, _wait(retry_after))
    if status in {400, 413}:
        return Answer(Outcome.BROKEN if body in _GONE else Outcome.MALFORMED, text)
    if status == 410 or (status in {401, 403, 404} and word):
        return Answer(Outcome.BROKEN, text)
    if status in {502, 504}:
        return Answer(Outcome.UNKNOWN, text, _wait(retry_after))
    return Answer(Outcome.AGAIN, text, _wait(retry_after))


def _wait(retry_after: str) -> timedelta | None:
    """Seconds or an HTTP date; nonsense counts as none, and no more than an hour is waited."""
    if re.fullmatch(r"[0-9]{1,9}", retry_after):
        return min(timedelta(seconds=int(retry_after)), LONGEST_WAIT)
    try:
        wait = parsedate_to_datetime(retry_after) - datetime.now(UTC)
    except (ValueError, TypeError):
        return None
    return min(max(wait, timedelta(0)), LONGEST_WAIT)


def payload(message: Message) -> dict[str, Any]:
    """The JSON of a message: blocks, and the text that notifications and screen readers take."""
    text = _cut("\n".join([*map(_escape, message.remarks), *map(_headline, message.items)]), TEXT)
    if message.plain:
        return {"text": text, "mrkdwn": False}
    blocks = [_context(remark) for remark in message.remarks]
    alone = len(message.items) == 1
    for item in message.items[:MOST_ITEMS]:
        blocks += _alone(item) if alone else _among_others(item)
    if hidden := len(message.items) - MOST_ITEMS:
        blocks += [_context(f"and {hidden} more.")] if hidden > 0 else []
    return {"text": text, "blocks": blocks[:MOST_BLOCKS]}


def _alone(item: Item) -> list[dict[str, Any]]:
    blocks = [_section(f"*{_headline(item)}*")]
    if item.lines:
        blocks.append(_section("\n".join(_escape(line) for line in item.lines)))
    if item.facts:
        fields = [
            _mrkdwn(f"*{_cut(_escape(a), LABEL)}*\n{_cut(_escape(b), FIELD)}") for a, b in item.facts[:10]
        ]
        blocks.append({"type": "section", "fields": fields})
    return blocks + _buttons(item)


def _among_others(item: Item) -> list[dict[str, Any]]:
    """In a digest each alert has a section and its way to the console."""
    section = _section(f"*{_headline(item)}*")
    buttons = _buttons(item)
    return [section | {"accessory": buttons[0]["elements"][0]} if buttons else section]


def _headline(item: Item) -> str:
    mark = "✅" if item.well else MARKS.get(item.severity, "")
    return _cut(f"{mark} {_escape(item.headline)}", 600)


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _mrkdwn(_cut(text, TEXT))}


def _context(text: str) -> dict[str, Any]:
    return {"type": "context", "elements": [_mrkdwn(_cut(_escape(text), TEXT))]}


def _mrkdwn(text: str) -> dict[str, Any]:
    # Verbatim: Slack makes no links or mentions of words that happen to look like some.
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _buttons(item: Item) -> list[dict[str, Any]]:
    elements = [
        {
            "type": "button",
            "action_id": f"open-{number}",
            "text": {"type": "plain_text", "text": _cut(_unbracketed(label), BUTTON), "emoji": False},
            "url": url,
        }
        for number, (label, url) in enumerate(item.links)
        if label and len(url) <= URL
    ]
    return [{"type": "actions", "elements": elements[:MOST_BUTTONS]}] if elements else []


def _escape(text: str) -> str:
    """The three characters by which Slack knows links and mentions, such as <!channel>."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _unbracketed(text: str) -> str:
    """For plain text, which knows no escapes."""
    return text.replace("<", "‹").replace(">", "›")  # noqa: RUF001 - they look alike, that is the point


def _cut(text: str, length: int) -> str:
    """At most so many characters, and no escape torn apart."""
    if len(text) <= length:
        return text
    return re.sub(r"&[a-z]{0,3}$", "", text[: length - 1]) + "…"
