"""Clicks on buttons in Slack, over a real server behind a proxy: forged, old, repeated, too large, at once, too late."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlencode

import pytest

from alerts.slack_app import signatures
from alerts.slack_app.webhook import LARGEST_BODY
from tests.field.console import NAME, Console
from tests.field.proxy import Proxy
from tests.field.visitor import FORM, Answer, Visitor

SECRET = "0123456789abcdef0123456789abcdef"
OLD_SECRET = "fedcba9876543210fedcba9876543210"
HOOK = "/hooks/slack"


def click(alert: int, action: str = "decide-acknowledge", member: str = "U0OLGA", **more: Any) -> bytes:
    """Return the form that Slack posts when this member presses the button: each press has an id of its own."""
    payload = {
        "trigger_id": secrets.token_hex(8),
        "type": "block_actions",
        "team": {"id": "T0TEAM", "domain": "example"},
        "user": {"id": member, "username": "olga.o", "team_id": "T0TEAM"},
        "actions": [{"action_id": action, "type": "button", "value": str(alert)}],
    }
    return urlencode({"payload": json.dumps(payload | more)}).encode()


def send(
    client: Visitor,
    body: bytes,
    *,
    age: float = 0,
    secret: str = SECRET,
    forged: Mapping[str, str] | None = None,
) -> Answer:
    sent_at = str(int(time.time() - age))
    signed = {signatures.TIME: sent_at, signatures.SIGNATURE: signatures.of(secret, sent_at, body)}
    return client.ask("POST", HOOK, body, FORM | signed | dict(forged or {}))


@pytest.fixture
def stranger() -> Iterator[tuple[str, list[str]]]:
    """Serve an address that is not Slack's; yield it, and what arrives there."""
    arrived: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            arrived.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/actions/T/1", arrived
    server.shutdown()
    server.server_close()


def test_clicks_in_slack(console: Console, stranger: tuple[str, list[str]]) -> None:
    from django.contrib.admin.models import LogEntry
    from django.contrib.auth.models import User

    from alerts import notify
    from alerts.models import Alert, SlackClick, SlackPerson
    from alerts.notify import Trouble

    with console.database.as_default():
        for number in range(4):
            notify.fire(f"disk-{number}", Trouble(title=f"Disk {number} is full", severity="critical"))
        first, second, third, gone = Alert.objects.order_by("pk").values_list("pk", flat=True)
        notify.resolve("disk-3")

    def state(pk: int) -> tuple[str, str]:
        with console.database.as_default():
            return Alert.objects.values_list("state", "handled_by").get(pk=pk)

    secrets = f"{OLD_SECRET},{SECRET}"
    with console.served(OPSCONSOLE_SLACK_SIGNING_SECRETS=secrets) as proxy, Visitor(proxy) as slack:
        _refuses(slack, first)
        assert state(first) == ("firing", "")

        # Nobody knows who that is; an administrator links them.
        assert send(slack, click(first)).status == 200
        assert state(first) == ("firing", "")
        with console.database.as_default():
            [waiting] = SlackPerson.objects.all()
            assert (waiting.team, waiting.member, waiting.name, waiting.user) == (
                "T0TEAM",
                "U0OLGA",
                "olga.o",
                None,
            )
            SlackPerson.objects.update(user=User.objects.get(username=NAME))

        # With the secret from before the change, too; the reply only goes to Slack.
        address, arrived = stranger
        assert send(slack, click(first, response_url=address), secret=OLD_SECRET).status == 200
        assert (state(first), arrived) == (("acknowledged", NAME), [])
        with console.database.as_default():
            line = LogEntry.objects.latest("pk")
            assert (line.user.username, line.change_message) == (NAME, "Acknowledged.")
            assert line.detail.result == "Pressed in Slack by olga.o (U0OLGA in T0TEAM)."
            lines = LogEntry.objects.count()

        _repeats(slack, second)
        assert state(second)[0] == "acknowledged"
        _at_once(proxy, click(third, "decide-snooze-1h"))
        assert state(third)[0] == "snoozed"

        # Resolved meanwhile, unknown, and links, of which Slack tells, too.
        for body in (click(gone), click(999_999), click(first, "open-0")):
            assert send(slack, body).status == 200
        assert state(gone)[0] == "resolved"
        with console.database.as_default():
            assert LogEntry.objects.count() == lines + 2
            assert SlackClick.objects.count() >= 7

            # Their permissions are those of the account.
            User.objects.filter(username=NAME).update(is_superuser=False)
            Alert.objects.filter(pk=first).update(state="firing")
        # Slack names each click: the same body in the same second would be the same request.
        assert send(slack, click(first, trigger_id="2")).status == 200
        assert state(first)[0] == "firing"


def _refuses(slack: Visitor, alert: int) -> None:
    body = click(alert)
    assert send(slack, body, secret="x" * 32).status == 401
    assert send(slack, body, age=400).status == 401
    assert send(slack, body, age=-400).status == 401
    assert send(slack, body, forged={signatures.SIGNATURE: "v0="}).status == 401
    assert send(slack, body, forged={signatures.TIME: "1e9"}).status == 401
    assert slack.ask("POST", HOOK, body, FORM).status == 401
    assert slack.get(HOOK).status == 405
    # The signature of another body.
    sent_at = str(int(time.time()))
    forged = {signatures.TIME: sent_at, signatures.SIGNATURE: signatures.of(SECRET, sent_at, click(1))}
    assert slack.ask("POST", HOOK, body + b"&x=1", FORM | forged).status == 401
    # Signed, and nonsense.
    for nonsense in (
        b"payload=%5B1%5D",
        b"payload=" + b"[" * 5_000,
        b"payload=%00&a=\xff",
        click(alert, "decide-acknowledge", "<!channel>"),
        click(alert, actions=[]),
        click(alert, user=None),
    ):
        assert send(slack, nonsense).status == 400, nonsense
    assert send(slack, b"ssl_check=1").status == 200
    assert send(slack, b"payload=" + b"x" * LARGEST_BODY).status == 413


def _repeats(slack: Visitor, alert: int) -> None:
    """Send the same request again: whoever listened in on it gets nothing by it."""
    body, sent_at = click(alert), str(int(time.time()))
    signed = {signatures.TIME: sent_at, signatures.SIGNATURE: signatures.of(SECRET, sent_at, body)}
    answers = [slack.ask("POST", HOOK, body, FORM | signed).status for _ in range(3)]
    assert answers == [200, 409, 409]


def _at_once(proxy: Proxy, body: bytes) -> None:
    """Press twice at once, in two requests that Slack signs at different times."""

    def press(age: float) -> int:
        with Visitor(proxy) as client:
            return send(client, body, age=age).status

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(press, (0, 10, 20, 30))) == [200] * 4
