"""Buttons in Slack: which messages have them, what the replies say, and where they may go."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import User
from django.db.models import F
from django.test import Client

from alerts import notify, operator_decisions
from alerts.channels import slack
from alerts.channels.wording import compose
from alerts.models import Alert, Delivery, Notification, SlackClick, SlackPerson
from alerts.notify import Trouble
from alerts.operator_decisions import Decision
from alerts.slack_app import answers, clicks, replies, signatures
from alerts.slack_app.answers import Reply
from alerts.slack_app.clicks import Click
from alerts.slack_app.signatures import Refused
from tests import people

SECRET = "0123456789abcdef0123456789abcdef"


def press(decision: Decision = Decision.ACKNOWLEDGE, hours: int = 0, *, member: str = "U1") -> Reply:
    """Press a button of the newest alert."""
    alert = Alert.objects.order_by("pk").values_list("pk", flat=True).last() or 1
    length = timedelta(hours=hours) if hours else None
    click = Click(
        team="T1", member=member, name="olga.o", decision=decision, length=length, alert=alert, reply_to=""
    )
    return answers.answer(click, f"v0={SlackClick.objects.count()}")


@pytest.fixture
def alert(db: None) -> Alert:
    notify.fire("disk", Trouble(title="The disk is full", severity="critical"))
    return Alert.objects.get()


def linked(user: User, member: str = "U1") -> User:
    SlackPerson.objects.create(team="T1", member=member, user=user)
    return user


def test_vector_of_the_documentation() -> None:
    """https://docs.slack.dev/authentication/verifying-requests-from-slack"""
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&"
        b"channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&"
        b"response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&"
        b"trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    secret = "8f742231b10e8888abcd99yyyzzz85a5"
    expected = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
    assert signatures.of(secret, "1531420618", body) == expected
    headers = {signatures.TIME: "1531420618", signatures.SIGNATURE: expected}
    assert signatures.verify(body, headers, ["x", secret], 1531420618.0 + 300) == expected
    for now in (1531420618 + 301, 1531420618 - 301):
        with pytest.raises(Refused):
            signatures.verify(body, headers, [secret], now)


def test_message_about_an_open_alert_has_buttons_where_there_is_an_app(alert: Alert, settings: Any) -> None:
    def buttons() -> list[str]:
        delivery = Delivery(notification=Notification.objects.latest("pk"), channel="slack", instead_of="")
        delivery.may_be_repeat = False
        blocks = slack.payload(compose([delivery], alert.since))["blocks"]
        pressed = [each for block in blocks for each in block.get("elements", ()) if "value" in each]
        assert all(each["value"] == str(alert.pk) for each in pressed)
        return [each["text"]["text"] for each in pressed]

    settings.OPSCONSOLE_SLACK_SIGNING_SECRETS = []
    assert buttons() == []
    settings.OPSCONSOLE_SLACK_SIGNING_SECRETS = [SECRET]
    assert buttons() == ["Acknowledge", "Snooze 1 h", "Snooze 8 h"]
    notify.resolve("disk")
    assert buttons() == []


def test_click_counts_as_a_decision_of_the_linked_account(alert: Alert) -> None:
    assert "does not know which account is yours" in press().text
    assert "does not know which account is yours" in press(member="U2").text
    SlackPerson.objects.filter(member="U1").update(user=people.operator())
    assert press() == Reply("Acknowledged by olga: The disk is full", to_all=True)
    assert press().text == "olga has acknowledged it already. Nothing was changed."
    reply = press(Decision.SNOOZE, 8)
    assert reply.to_all and reply.text.startswith("Snoozed until ")
    assert press(Decision.SNOOZE, 8).text == "olga has snoozed it already. Nothing was changed."
    # Another end is another wish.
    assert press(Decision.SNOOZE, 1).to_all
    operator_decisions.resolve(alert.pk, "vera", "mended")
    assert press().text == "Nothing was changed: “The disk is full” has resolved in the meantime."
    Alert.objects.all().delete()
    assert press().text == "Nothing was changed: the console has no such alert any more."


def test_click_has_the_permissions_of_the_account(alert: Alert) -> None:
    linked(people.viewer())
    assert press().text == "Nothing was changed: the account vera may not acknowledge alerts."
    paul = people.allowed("acknowledge_alert")
    SlackPerson.objects.update(user=paul)
    assert "may not snooze" in press(Decision.SNOOZE, 1).text
    for off in ({"is_active": False}, {"is_active": True, "is_staff": False}):
        User.objects.filter(pk=paul.pk).update(**off)
        assert "may not see alerts" in press().text
    assert Alert.objects.get().state == "firing"
    User.objects.filter(pk=paul.pk).update(is_staff=True)
    assert press().to_all


def test_signature_counts_once_and_is_forgotten_later(alert: Alert) -> None:
    linked(people.operator())
    click = Click(
        team="T1",
        member="U1",
        name="",
        decision=Decision.ACKNOWLEDGE,
        length=None,
        alert=alert.pk,
        reply_to="",
    )
    assert answers.answer(click, "v0=a").to_all
    with pytest.raises(Refused) as refused:
        answers.answer(click, "v0=a")
    assert refused.value.status == 409
    SlackClick.objects.update(at=F("at") - 2 * answers.SIGNATURES_KEPT)
    answers.answer(click, "v0=b")
    assert list(SlackClick.objects.values_list("pk", flat=True)) == ["v0=b"]


def test_no_crowd_waits_to_be_linked(alert: Alert, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MOST_WAITING", 2)
    linked(people.operator(), "U0")
    for number in range(1, 5):
        press(member=f"U{number}")
        # Whoever is told to ask an administrator is there to be found.
        assert SlackPerson.objects.filter(member=f"U{number}").exists()
    assert set(SlackPerson.objects.values_list("member", flat=True)) == {"U0", "U3", "U4"}


def test_click_in_an_organization_names_no_workspace() -> None:
    payload = {
        "type": "block_actions",
        "team": None,
        "enterprise": {"id": "E0ORG", "name": "Example"},
        "is_enterprise_install": True,
        "user": {"id": "W0OLGA", "username": "olga.o"},
        "actions": [{"action_id": "decide-acknowledge", "type": "button", "value": "7"}],
    }
    click = clicks.read(urlencode({"payload": json.dumps(payload)}).encode())
    assert click is not None
    assert (click.team, click.member, click.alert) == ("E0ORG", "W0OLGA", 7)
    with pytest.raises(Refused):
        clicks.read(urlencode({"payload": json.dumps(payload | {"enterprise": None})}).encode())


@pytest.mark.parametrize(
    ("address", "is_slack"),
    [
        ("https://hooks.slack.com/actions/T1/123/abc", True),
        ("https://hooks.slack-gov.com/actions/T1/123/abc", True),
        ("http://hooks.slack.com/actions/T1/123/abc", False),
        ("https://hooks.slack.com.evil.example/actions/T1", False),
        ("https://hooks.slack.com@evil.example/actions/T1", False),
        ("https://hooks.slack.com:8443/actions/T1", False),
        ("https://hooks.slack.com/actions/../../x?y=1", False),
        ("https://169.254.169.254/latest/meta-data", False),
        ("http://127.0.0.1:1/actions", False),
        ("file:///etc/passwd", False),
        ("", False),
    ],
)
def test_replies_only_go_to_slack(address: str, is_slack: bool, settings: Any) -> None:
    settings.SLACK_WEBHOOK_URL = "https://hooks.slack.com/services/x"
    assert replies.is_slack(address) is is_slack


@pytest.fixture
def stand_in() -> Iterator[tuple[str, list[Any]]]:
    received: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", received
    server.shutdown()
    server.server_close()


def test_without_an_app_there_is_nothing(client: Client, settings: Any) -> None:
    settings.OPSCONSOLE_SLACK_SIGNING_SECRETS = []
    assert client.post("/hooks/slack").status_code == 404
    settings.OPSCONSOLE_SLACK_SIGNING_SECRETS = [SECRET]
    assert client.post("/hooks/slack").status_code == 401
    assert client.generic("POST", "/hooks/slack", b"x", CONTENT_LENGTH="many").status_code == 413


def test_reply_mentions_nobody(stand_in: tuple[str, list[Any]], settings: Any) -> None:
    """Outside production, the stand-in for Slack that has the webhook gets the replies, too."""
    address, received = stand_in
    settings.SLACK_WEBHOOK_URL = f"{address}/services/x"
    replies.send(f"{address}/actions/1", Reply("Acknowledged by <!channel>", to_all=True))
    replies.send(f"{address}/actions/2", Reply("Nothing was changed."))
    text = "Acknowledged by &lt;!channel&gt;"
    assert received == [
        {"response_type": "in_channel", "replace_original": False, "text": text, "mrkdwn": False},
        {
            "response_type": "ephemeral",
            "replace_original": False,
            "text": "Nothing was changed.",
            "mrkdwn": False,
        },
    ]
