"""The payload for Slack, and the interpretation of its answers."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from alerts.channels import slack
from alerts.channels.http_posts import HttpAnswer
from alerts.channels.outcome import Outcome
from alerts.channels.slack import post
from alerts.channels.wording import AlertMessage, Kind, MessageItem
from tests.fakes.slack import FakeSlack, Reply

MEBIBYTE = 2**20


def item(**fields: Any) -> MessageItem:
    defaults = {"kinds": (Kind.FIRING,), "severity": "critical", "title": "5 dead letters"}
    return MessageItem(**{**defaults, "headline": "Firing: 5 dead letters", **fields})


def blocks(*items: MessageItem, **fields: Any) -> list[dict[str, Any]]:
    payload_blocks: list[dict[str, Any]] = slack.payload(AlertMessage(items=items, **fields))["blocks"]
    return payload_blocks


def test_message_has_facts_and_buttons() -> None:
    message_item = item(
        lines=("2 new groups.", "Look."),
        facts=(("Customers", "CUST-1, CUST-2"),),
        links=(("Review", "https://ops.example.com/x"), ("View DLQ", "https://console.aws.amazon.com/sqs")),
    )
    headline, lines, facts, buttons = blocks(message_item)
    assert (headline["type"], headline["text"]["text"]) == ("header", "🔴 Firing: 5 dead letters")
    assert lines["text"]["text"] == "2 new groups.\nLook."
    assert facts["fields"][0]["text"] == "Customers\nCUST-1, CUST-2"
    assert [(each["text"]["text"], each["url"]) for each in buttons["elements"]] == list(message_item.links)


@pytest.mark.parametrize(
    "text",
    [
        "<!channel> <@U123> <https://evil|click>",
        "😀" * MEBIBYTE,
        "&" * MEBIBYTE,
        "x" * MEBIBYTE,
        "\x00\ud83d",
    ],
)
def test_hostile_text_mentions_nobody_and_exceeds_no_limit(text: str) -> None:
    message_item = item(
        headline=text,
        lines=(text, text),
        facts=((text, text),) * 20,
        links=((text, "https://ops.example.com"), ("long", "https://x/" + "y" * 5_000)) * 9,
    )
    for items in ((message_item,), (message_item,) * 40):
        sent = slack.payload(AlertMessage(items=items, remarks=(text,)))
        assert len(json.dumps(sent).encode()) < 300_000
        assert (
            "<!" not in json.dumps(sent) and "<@" not in json.dumps(sent) and "<http" not in json.dumps(sent)
        )
        assert len(sent["blocks"]) <= 50
        assert sent["mrkdwn"] is False
        for each in _texts(sent["blocks"]):
            assert each["type"] == "plain_text" and 1 <= len(each["text"]) <= 3_000
        for block in sent["blocks"]:
            assert block["type"] != "header" or len(block["text"]["text"]) <= 150
            assert all(len(field["text"]) <= 2_000 for field in block.get("fields", ()))
        for button in _buttons(sent["blocks"]):
            assert len(button["text"]["text"]) <= 75 and len(button["url"]) <= 3_000


@pytest.mark.parametrize("customer", ["*acme*", "_acme_", "~acme~", "`acme`", ":fire:", "&lt;acme"])
def test_ids_are_shown_as_they_are(customer: str) -> None:
    headline, lines, facts = blocks(
        item(headline=f"Firing: {customer}", lines=(f"Of {customer}.",), facts=(("Customers", customer),))
    )

    assert headline["text"] == {"type": "plain_text", "text": f"🔴 Firing: {customer}", "emoji": False}
    assert lines["text"] == {"type": "plain_text", "text": f"Of {customer}.", "emoji": False}
    assert facts["fields"] == [{"type": "plain_text", "text": f"Customers\n{customer}", "emoji": False}]
    [first, _] = blocks(item(headline=customer), item())
    assert first["text"]["type"] == "plain_text"
    assert slack.reply(customer, to_all=True)["mrkdwn"] is False


def _texts(node: Any) -> list[dict[str, Any]]:
    """Return the text objects."""
    if isinstance(node, dict):
        own = [node] if isinstance(node.get("text"), str) else []
        return own + [text for value in node.values() for text in _texts(value)]
    return [text for value in node for text in _texts(value)] if isinstance(node, list) else []


def _buttons(node: Any) -> list[Any]:
    if isinstance(node, dict):
        own = [node] if node.get("type") == "button" else []
        return own + [button for value in node.values() for button in _buttons(value)]
    return [button for value in node for button in _buttons(value)] if isinstance(node, list) else []


def test_escape_sequences_are_not_split() -> None:
    for length in range(590, 610):
        text = slack.payload(AlertMessage(items=(item(headline="x" * length + "&&&&&&"),)))["text"]
        assert text.replace("&amp;", "").count("&") == 0


def test_plain_format_is_only_text() -> None:
    sent = slack.payload(AlertMessage(items=(item(headline="a < b"),), plain=True))
    assert sent == {"text": "🔴 a &lt; b", "mrkdwn": False}


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (200, "ok", Outcome.DELIVERED),
        (200, "", Outcome.UNKNOWN),
        (200, "<html>", Outcome.UNKNOWN),
        (302, "", Outcome.AGAIN),
        (400, "invalid_payload", Outcome.MALFORMED),
        (400, "user_not_found", Outcome.BROKEN),
        (403, "action_prohibited", Outcome.BROKEN),
        (403, "<html>proxy</html>", Outcome.AGAIN),
        (404, "channel_not_found", Outcome.BROKEN),
        (404, "no_service", Outcome.BROKEN),
        (404, "Not found, says the proxy", Outcome.AGAIN),
        (407, "proxy", Outcome.AGAIN),
        (408, "", Outcome.AGAIN),
        (410, "channel_is_archived", Outcome.BROKEN),
        (413, "too_large", Outcome.MALFORMED),
        (429, "rate_limited", Outcome.AGAIN),
        (500, "rollup_error", Outcome.AGAIN),
        (502, "", Outcome.UNKNOWN),
        (503, "", Outcome.AGAIN),
        (504, "", Outcome.UNKNOWN),
    ],
)
def test_answer_is_interpreted(status: int, body: str, outcome: str) -> None:
    assert slack.meaning(HttpAnswer(status, body)).outcome == outcome


@pytest.mark.parametrize("before", [0, 150, 185, 280])
def test_page_of_a_proxy_does_not_quote_the_webhook(slack: FakeSlack, before: int) -> None:
    """The answer is stored, shown on the page of the channel and logged; where it is cut, no part of the secret stays."""
    webhook = f"{slack.url}/T0A1B2C3D4/B9Z8Y7X6W5/kX3vRq8mPz"
    page = f"{'x' * before} The requested URL {webhook.partition('//')[2].partition('/')[2]} was not found."
    slack.replies = [Reply(404, page)]
    answer = post(webhook, AlertMessage(items=(item(),)))
    assert answer.outcome == Outcome.AGAIN and answer.text.startswith("404")
    assert not re.search("T0A1|B9Z8|kX3v", answer.text)
