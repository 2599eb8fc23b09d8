"""Channels through Apprise: messages, failures and secrets."""

from __future__ import annotations

from typing import Any

import pytest

from alerts.channels import apprise_urls
from alerts.channels.outcome import Outcome
from alerts.channels.targets import Target
from alerts.channels.wording import AlertMessage, Kind, MessageItem
from tests.fakes.slack import FakeSlack, Reply

FIRING = MessageItem(
    kinds=(Kind.FIRING,),
    severity="critical",
    title="t",
    headline="Firing: 5 dead letters",
    lines=("Look.",),
    facts=(("Queue", "default"),),
    links=(("Review", "https://ops.example.com/x"),),
)


def url(server: FakeSlack) -> str:
    return server.url.replace("http://", "json://user:pass-word@")


def test_message_about_one_alert_has_facts_and_links(slack: FakeSlack) -> None:
    answer = apprise_urls.post(url(slack), AlertMessage(items=(FIRING,), remarks=("This may be a repeat.",)))
    assert answer.outcome == Outcome.DELIVERED
    [post] = slack.posts
    assert post["title"] == "Firing: 5 dead letters"
    assert post["message"].splitlines() == [
        "This may be a repeat.",
        "Look.",
        "Queue: default",
        "Review: https://ops.example.com/x",
    ]
    assert post["type"] == "failure"


def test_message_about_several_alerts_is_a_list(slack: FakeSlack) -> None:
    apprise_urls.post(url(slack), AlertMessage(items=(FIRING, FIRING)))
    assert slack.posts[0]["title"] == "2 alerts"
    assert slack.posts[0]["message"].count("Firing: 5 dead letters") == 2


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(404, Outcome.BROKEN), (401, Outcome.BROKEN), (500, Outcome.AGAIN), (429, Outcome.AGAIN)],
)
def test_permanent_failure_is_recognised_and_answer_has_no_secret(
    slack: FakeSlack, status: int, outcome: str
) -> None:
    slack.always = Reply(status, "no")
    answer = apprise_urls.post(url(slack), AlertMessage(items=(FIRING,)))
    assert answer.outcome == outcome
    assert str(status) in answer.text
    for secret in ("pass-word", "secret-word"):
        assert secret not in answer.text


def test_unreachable_service_and_unknown_scheme(settings: Any) -> None:
    assert (
        apprise_urls.post("json://127.0.0.1:1/secret-word", AlertMessage(items=(FIRING,))).outcome
        == Outcome.AGAIN
    )
    answer = apprise_urls.post("nonsense://secret-word", AlertMessage(items=(FIRING,)))
    assert (answer.outcome, "secret" in answer.text) == (Outcome.BROKEN, False)


def test_repr_of_a_target_has_no_address() -> None:
    assert "secret" not in repr(Target("mail", "mailto://secret"))
