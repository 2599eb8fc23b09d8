"""The adapter for Slack: Block Kit, its limits, and the meaning of Slack's answers.

No other module knows Slack's messages; ``alerts.slack_app`` knows the requests that the buttons of an app make.

https://api.slack.com/messaging/webhooks lists the permanent errors. A webhook answers 200 and ``ok`` on success. Slack
may disable an app that keeps posting after a 429, so ``Retry-After`` is passed on to the sender.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from django.conf import settings

from alerts.channels import http_posts
from alerts.channels.http_posts import HttpAnswer, HttpPost
from alerts.channels.outcome import ChannelAnswer, Outcome
from alerts.channels.wording import AlertMessage, MessageItem

# Slack allows 50 blocks, 3,000 characters per text block, 150 per header, 10 fields of 2,000, 75 per button, and 3,000 per URL.
MAX_BLOCKS, MAX_ITEMS, MAX_BUTTONS = 45, 10, 5
TEXT, HEADLINE, HEADER, FIELD, LABEL, BUTTON, URL = 2_500, 600, 145, 900, 150, 70, 2_900


@dataclass(frozen=True)
class DecisionButton:
    """A button that decides about an alert; ``length``: how long a snooze lasts."""

    label: str
    decision: str
    length: timedelta | None = None


# By the names under which Slack returns them.
DECISIONS = {
    "decide-acknowledge": DecisionButton("Acknowledge", "acknowledge"),
    "decide-snooze-1h": DecisionButton("Snooze 1 h", "snooze", timedelta(hours=1)),
    "decide-snooze-8h": DecisionButton("Snooze 8 h", "snooze", timedelta(hours=8)),
}
MARKS = {"critical": "🔴", "warning": "🟠", "info": "🔵"}
# An error code in the body shows that Slack itself answered, and not a proxy, whose refusal may be temporary.
_ERROR_CODE = re.compile(r"[a-z][a-z_]{2,60}")
_PERMANENT_CODES = {
    "user_not_found",
    "channel_not_found",
    "channel_is_archived",
    "invalid_token",
    "no_service",
    "no_team",
}


def post(webhook: str, message: AlertMessage) -> ChannelAnswer:
    """Post a message. Every failure becomes an answer."""
    answer = http_posts.send(HttpPost(webhook, payload(message)))
    if isinstance(answer, ChannelAnswer):
        return answer
    outcome = meaning(answer)
    # A proxy's page quotes the path of the address, which is the secret.
    return replace(outcome, text=http_posts.without_secrets(outcome.text, webhook))


def meaning(answer: HttpAnswer) -> ChannelAnswer:
    """Interpret an answer of Slack."""
    status, body, text = answer.status, answer.body, answer.text
    from_slack = bool(_ERROR_CODE.fullmatch(body))
    if status == 200:
        # Any other body may come from a proxy that dropped the message.
        return ChannelAnswer(Outcome.DELIVERED if body == "ok" else Outcome.UNKNOWN, text)
    if status == 429:
        return ChannelAnswer(Outcome.AGAIN, text, answer.retry_after)
    if status in {400, 413}:
        return ChannelAnswer(Outcome.BROKEN if body in _PERMANENT_CODES else Outcome.MALFORMED, text)
    if status == 410 or (status in {401, 403, 404} and from_slack):
        return ChannelAnswer(Outcome.BROKEN, text)
    if status in {502, 504}:
        return ChannelAnswer(Outcome.UNKNOWN, text, answer.retry_after)
    return ChannelAnswer(Outcome.AGAIN, text, answer.retry_after)


def payload(message: AlertMessage) -> dict[str, Any]:
    """Return the JSON of a message: the blocks, and the text for notifications and screen readers."""
    text = _cut("\n".join([*map(_escape, message.remarks), *map(_headline_in_text, message.items)]), TEXT)
    if message.plain:
        return {"text": text, "mrkdwn": False}
    blocks = [_context(remark) for remark in message.remarks]
    single = len(message.items) == 1
    for item in message.items[:MAX_ITEMS]:
        blocks += _full_item(item) if single else _digest_item(item)
    if hidden := len(message.items) - MAX_ITEMS:
        blocks += [_context(f"and {hidden} more.")] if hidden > 0 else []
    return {"text": text, "mrkdwn": False, "blocks": blocks[:MAX_BLOCKS]}


def _full_item(item: MessageItem) -> list[dict[str, Any]]:
    headline = _headline(item)
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": _text(headline)} if len(headline) <= HEADER else _section(headline)
    ]
    if item.lines:
        blocks.append(_section("\n".join(item.lines)))
    if item.facts:
        fields = [_text(f"{_cut(label, LABEL)}\n{_cut(value, FIELD)}") for label, value in item.facts[:10]]
        blocks.append({"type": "section", "fields": fields})
    return blocks + _decisions(item) + _buttons(item)


def _digest_item(item: MessageItem) -> list[dict[str, Any]]:
    """Return one section with a link to the console, for a message about several alerts."""
    section = _section(_headline(item))
    buttons = _buttons(item)
    return [section | {"accessory": buttons[0]["elements"][0]} if buttons else section]


def _headline(item: MessageItem) -> str:
    mark = "✅" if item.good else MARKS.get(item.severity, "")
    return _cut(f"{mark} {item.headline}", HEADLINE)


def _headline_in_text(item: MessageItem) -> str:
    return _cut(_escape(_headline(item)), HEADLINE)


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _text(_cut(text, TEXT))}


def _context(text: str) -> dict[str, Any]:
    return {"type": "context", "elements": [_text(_cut(text, TEXT))]}


def _text(text: str) -> dict[str, Any]:
    """Return a text that Slack shows as it is.

    Its markup has no escapes for *, _, ~ and backticks: the customer _acme_ would be shown as another one, in italics.
    """
    return {"type": "plain_text", "text": _unbracketed(text), "emoji": False}


def reply(text: str, *, to_all: bool) -> dict[str, Any]:
    """Return the JSON of a reply to a click, beside the message: to everybody in the channel, or to who clicked."""
    audience = "in_channel" if to_all else "ephemeral"
    shown = _cut(_escape(text), TEXT)
    return {"response_type": audience, "replace_original": False, "text": shown, "mrkdwn": False}


def _decisions(item: MessageItem) -> list[dict[str, Any]]:
    """Return the buttons that decide, where an app answers their clicks and the alert is open."""
    if item.alert is None or not settings.OPSCONSOLE_SLACK_SIGNING_SECRETS:
        return []
    elements = [
        {
            "type": "button",
            "action_id": name,
            "text": _text(button.label),
            "value": str(item.alert),
        }
        for name, button in DECISIONS.items()
    ]
    return [{"type": "actions", "elements": elements}]


def _buttons(item: MessageItem) -> list[dict[str, Any]]:
    elements = [
        {
            "type": "button",
            "action_id": f"open-{number}",
            "text": _text(_cut(label, BUTTON)),
            "url": url,
        }
        for number, (label, url) in enumerate(item.links)
        if label and len(url) <= URL
    ]
    return [{"type": "actions", "elements": elements[:MAX_BUTTONS]}] if elements else []


def _escape(text: str) -> str:
    """Escape the three characters that Slack uses for links and mentions, such as <!channel>."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _unbracketed(text: str) -> str:
    """Replace angle brackets by similar characters, since plain text has no escapes: <!channel> mentions nobody anywhere."""
    return text.replace("<", "‹").replace(">", "›")  # noqa: RUF001 - deliberately similar


def _cut(text: str, length: int) -> str:
    """Cut the text to this length without splitting an escape sequence."""
    if len(text) <= length:
        return text
    return re.sub(r"&[a-z]{0,3}$", "", text[: length - 1]) + "…"
