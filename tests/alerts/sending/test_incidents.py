"""Alerts at PagerDuty, whose server is stood in for: one incident per alert, resolved with the alert."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from alerts import notify
from alerts.channels.incidents import services
from alerts.models import Attempt, Channel, Delivery
from alerts.notify import Trouble
from alerts.sending import channel_test, delivery, posting, reminders
from tests.alerts.conftest import Later
from tests.fakes.slack import HANG, FakeSlack, Reply, serve

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("rules_without_delay")]

HOUR = 3_600.0
URL = "pagerduty://0123456789abcdef0123456789abcdef@api-key"
ACCEPTED = Reply(202, '{"status": "success"}')


@pytest.fixture
def pager(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSlack]:
    """Run a PagerDuty as the only channel."""
    settings.SLACK_WEBHOOK_URL = None
    settings.OPSCONSOLE_ALERT_CHANNELS = {"pager": URL}
    settings.OPSCONSOLE_ALERT_FALLBACK = ""
    with serve() as server:
        server.always = ACCEPTED
        monkeypatch.setitem(services.ENDPOINTS, ("pagerduty", "us"), server.url)
        yield server


def measure(count: float, scope: str = "default", **content: Any) -> None:
    notify.measure("dlq_not_empty", count, Trouble(**content), scope=scope)


def send_all(later: Later, turns: int = 5) -> None:
    for _ in range(turns):
        delivery.deliver()
        later(2)


def incidents(pager: FakeSlack) -> dict[str, list[str]]:
    """Return the actions that PagerDuty received about each incident."""
    actions: dict[str, list[str]] = {}
    for post in pager.posts:
        actions.setdefault(post["dedup_key"], []).append(post["event_action"])
    return actions


def test_alert_is_one_incident_from_firing_to_resolution(pager: FakeSlack, later: Later) -> None:
    """It was three triggers without a key: three incidents that nobody resolved."""
    measure(5)
    send_all(later)
    later(4 * HOUR)
    reminders.remind()
    send_all(later)
    measure(50, news="A new group.")
    send_all(later)
    measure(0)
    send_all(later)
    assert list(incidents(pager).values()) == [["trigger", "trigger", "trigger", "resolve"]]


def test_next_alert_of_the_same_problem_is_another_incident(pager: FakeSlack, later: Later) -> None:
    for count in (5, 0, 5):
        measure(count)
        send_all(later)
    assert list(incidents(pager).values()) == [["trigger", "resolve"], ["trigger"]]


def test_incident_of_an_alert_that_resolved_meanwhile_is_opened_and_resolved(
    pager: FakeSlack, later: Later
) -> None:
    measure(5)
    measure(0)
    send_all(later)
    assert list(incidents(pager).values()) == [["trigger", "resolve"]]
    assert not Delivery.objects.waiting().exists()


def test_many_alerts_are_as_many_incidents(pager: FakeSlack, later: Later) -> None:
    for number in range(6):
        measure(5, scope=f"queue-{number}")
    send_all(later, turns=8)
    assert list(incidents(pager).values()) == [["trigger"]] * 6


def test_retry_after_is_respected(pager: FakeSlack, later: Later) -> None:
    pager.always = Reply(429, '{"status": "throttle exceeded"}', {"Retry-After": "300"})
    measure(5)
    send_all(later)
    assert len(pager.posts) == 1
    pager.always = ACCEPTED
    later(200)
    delivery.deliver()
    assert len(pager.posts) == 1, "posted before PagerDuty allowed it"
    later(200)
    send_all(later)
    assert list(incidents(pager).values()) == [["trigger", "trigger"]]


def test_permanent_rejection_breaks_the_channel(pager: FakeSlack, later: Later) -> None:
    pager.always = Reply(403, '{"message": "The integration is disabled"}')
    measure(5)
    send_all(later)
    assert len(pager.posts) == 1
    assert Channel.objects.get().broken_why == '403 {"message": "The integration is disabled"}'


def test_invalid_event_is_sent_again_in_the_plain_format(pager: FakeSlack, later: Later) -> None:
    pager.always = Reply(400, '{"status": "invalid event"}')
    measure(5, facts=[("Customers", "CUST-1")])
    send_all(later)
    assert [len(post["payload"]["custom_details"]) for post in pager.posts] == [2, 1]
    assert Channel.objects.get().broken_since


def test_unknown_outcome_is_repeated_with_the_same_key(
    pager: FakeSlack, later: Later, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_in_time = posting.answer_in_time
    monkeypatch.setattr(posting, "answer_in_time", lambda call: answer_in_time(call, 0.5))
    pager.always, pager.replies = None, [HANG, Reply(504), ACCEPTED]
    measure(5)
    send_all(later)
    later(10)
    send_all(later)
    assert list(incidents(pager).values()) == [["trigger"] * 3]
    outcomes = Attempt.objects.order_by("pk").values_list("outcome", flat=True)
    assert list(outcomes) == ["unknown", "unknown", "delivered"]


def test_test_message_leaves_no_incident_open(pager: FakeSlack, later: Later) -> None:
    channel_test.send("pager", "olga")
    send_all(later)
    assert incidents(pager) == {"opsconsole-test": ["trigger", "resolve"]}


def test_fallback_resolves_the_incident_that_it_opened(
    pager: FakeSlack, slack: FakeSlack, settings: Any, later: Later
) -> None:
    """Slack was broken when the alert fired, and works again when it resolves."""
    settings.OPSCONSOLE_ALERT_CHANNELS = {"pager": URL}
    settings.OPSCONSOLE_ALERT_FALLBACK = "pager"
    slack.replies = [Reply(410, "channel_is_archived")]
    measure(5)
    send_all(later)
    assert list(incidents(pager).values()) == [["trigger"]]
    channel_test.send("slack", "olga")
    send_all(later)
    measure(0)
    send_all(later)
    assert list(incidents(pager).values()) == [["trigger", "resolve"]]
    assert "Resolved" in slack.texts[-1]


def test_incident_of_a_broken_channel_is_resolved_when_the_channel_works_again(
    pager: FakeSlack, slack: FakeSlack, settings: Any, later: Later
) -> None:
    settings.OPSCONSOLE_ALERT_CHANNELS = {"pager": URL}
    settings.OPSCONSOLE_ALERT_FALLBACK = "slack"
    measure(5)
    send_all(later)
    pager.always = Reply(403, "{}")
    later(4 * HOUR)
    reminders.remind()
    send_all(later)
    measure(0)
    send_all(later)
    assert "Resolved" in slack.texts[-1]
    assert list(incidents(pager).values()) == [["trigger", "trigger"]]

    pager.always = ACCEPTED
    channel_test.send("pager", "olga")
    send_all(later)
    of_alert = next(actions for key, actions in incidents(pager).items() if key != "opsconsole-test")
    assert of_alert == ["trigger", "trigger", "resolve"]
    assert not Delivery.objects.waiting().exists()
