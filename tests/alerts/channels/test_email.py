"""E-mail through a real SMTP connection: the message, and which refusals are permanent."""

from __future__ import annotations

from collections.abc import Iterator
from email import message_from_string

import pytest

from alerts.channels import email
from alerts.channels.outcome import ChannelAnswer, Outcome
from alerts.channels.wording import AlertMessage, Kind, MessageItem
from tests.alerts.web import refusing
from tests.fakes import smtp
from tests.fakes.smtp import FakeMailServer

FIRING = MessageItem(
    kinds=(Kind.FIRING,),
    severity="critical",
    title="t",
    headline="Firing: 5 dead letters",
    lines=("Look at <this>.",),
    links=(("Review", "https://ops.example.com/x"),),
)


@pytest.fixture
def mail() -> Iterator[FakeMailServer]:
    with smtp.serve() as server:
        yield server


def post(mail: FakeMailServer) -> ChannelAnswer:
    return email.post(mail.url, AlertMessage(items=(FIRING,)))


def test_message_is_plain_text_with_its_links(mail: FakeMailServer) -> None:
    assert post(mail) == ChannelAnswer(Outcome.DELIVERED, "250 accepted")
    [received] = map(message_from_string, mail.mails)
    assert received["Subject"] == "Firing: 5 dead letters"
    text = received.get_payload(decode=True)
    assert isinstance(text, bytes)
    assert text.decode().splitlines() == ["Look at <this>.", "Review: https://ops.example.com/x"]
    assert mail.recipients == ["<team@example.com>"]


@pytest.mark.parametrize(
    ("replies", "outcome"),
    [
        ({"AUTH": "535 5.7.8 Username and password not accepted"}, Outcome.BROKEN),
        ({"AUTH": "454 4.7.0 Temporary authentication failure"}, Outcome.AGAIN),
        ({"CONNECT": "554 no service here"}, Outcome.BROKEN),
        ({"CONNECT": "421 too many connections"}, Outcome.AGAIN),
        ({"MAIL": "553 sender not allowed"}, Outcome.BROKEN),
        ({"MAIL": "451 try later"}, Outcome.AGAIN),
        ({"RCPT": "550 no such user"}, Outcome.BROKEN),
        ({"RCPT": "450 greylisted"}, Outcome.AGAIN),
        ({"END": "552 message too large"}, Outcome.MALFORMED),
        ({"END": "452 no space left"}, Outcome.AGAIN),
        ({"END": ""}, Outcome.UNKNOWN),
    ],
)
def test_refusals_of_5xx_are_permanent_and_those_of_4xx_pass(
    mail: FakeMailServer, replies: dict[str, str], outcome: Outcome
) -> None:
    mail.replies = replies
    answer = post(mail)
    assert answer.outcome == outcome
    assert "pass-word" not in answer.text
    assert next(iter(replies.values()))[:3] in answer.text


def test_recipient_refused_beside_another_is_reported(mail: FakeMailServer) -> None:
    mail.url += ",old@example.com"
    mail.replies = {"<old@example.com>": "550 no such user"}
    answer = post(mail)
    assert answer.outcome == Outcome.DELIVERED
    assert answer.text == "not to all recipients: 550 no such user"
    assert len(mail.mails) == 1


def test_unreachable_server_is_tried_again() -> None:
    port = refusing().rpartition(":")[2]
    answer = email.post(
        f"mailto://bob:pass-word@127.0.0.1:{port}?mode=insecure&from=a@example.com&to=b@example.com",
        AlertMessage(items=(FIRING,)),
    )
    assert answer == ChannelAnswer(Outcome.AGAIN, "No connection (ConnectionRefusedError)")
