"""Delivery to a Slack that is slow, rejects messages, disappears or answers nonsense. Time is simulated."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from alerts import notify
from alerts.channels.outcome import ChannelAnswer, Outcome
from alerts.channels.targets import all_targets
from alerts.models import Alert, Attempt, Channel, Delivery, Notification
from alerts.notify import Trouble
from alerts.sending import addressing, banner, delivery, posting, sender
from tests.alerts.conftest import Later
from tests.fakes.slack import HANG, FakeSlack, Reply, serve
from tests.racing import race

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("rules_without_delay")]

FINGERPRINT = "dlq_not_empty:default"


def measure_dead_letters(count: float | None, **content: Any) -> None:
    notify.measure(
        "dlq_not_empty", count, Trouble(title=f"{count} dead letters in default", **content), scope="default"
    )


def send_all(later: Later, turns: int = 5) -> None:
    """Run a sender several times, two seconds apart."""
    for _ in range(turns):
        delivery.deliver()
        later(2)


def outcomes() -> list[str]:
    return list(Attempt.objects.order_by("pk").values_list("outcome", flat=True))


def test_alert_is_sent_once(slack: FakeSlack, later: Later) -> None:
    measure_dead_letters(5)
    send_all(later)
    measure_dead_letters(5)
    send_all(later)

    assert slack.texts == ["🔴 Firing: 5 dead letters in default"]
    assert Delivery.objects.get().state == Delivery.State.SENT
    assert Attempt.objects.get().answer == "200 ok"


def test_what_nobody_sees_is_shown_in_messages(slack: FakeSlack, later: Later) -> None:
    """A customer or an error must not turn a line of a message around, or begin a line of its own in the headline."""
    turned = "lost \u202e.gnihton ,lla\u2066 <!channel>"
    notify.fire(
        FINGERPRINT,
        Trouble(severity="critical", title=f"a\r\n{turned}", summary=turned, facts=(("Customers", turned),)),
    )
    send_all(later)

    [sent] = slack.posts
    told = json.dumps(sent, ensure_ascii=False)
    assert re.findall(r"[\u202e\u2066\r]|<!channel>", told) == []
    assert slack.texts == ["🔴 Firing: a lost \\u202e.gnihton ,lla\\u2066 &lt;!channel&gt;"]


def test_turn_with_nothing_to_send_changes_and_locks_nothing(slack: FakeSlack, later: Later) -> None:
    sender.do_periodic_work()
    assert Channel.objects.filter(pk="slack").exists()
    with CaptureQueriesContext(connection) as captured:
        delivery.deliver()
    asked = [each["sql"] for each in captured.captured_queries]
    # One more where channels may have been added on pages.
    assert 1 <= len(asked) <= 2
    assert not any("UPDATE" in sql or "INSERT" in sql for sql in asked)
    measure_dead_letters(5)
    send_all(later)
    assert len(slack.posts) == 1


def test_retry_after_is_respected(slack: FakeSlack, later: Later) -> None:
    slack.replies = [Reply(429, "rate_limited", {"Retry-After": "60"})]
    measure_dead_letters(5)
    delivery.deliver()
    assert len(slack.posts) == 1

    later(40)
    delivery.deliver()
    assert len(slack.posts) == 1, "posted before Slack allowed it"

    later(40)
    send_all(later)
    assert len(slack.posts) == 2, "exactly one after"
    assert outcomes() == ["again", "delivered"]
    assert "repeat" not in slack.texts[-1]


def test_alert_resolved_before_the_retry_is_still_sent(slack: FakeSlack, later: Later) -> None:
    """signoz#12891: neither the firing nor the resolved message was ever sent."""
    slack.replies = [Reply(429, "rate_limited", {"Retry-After": "3"})]
    measure_dead_letters(5)
    delivery.deliver()
    measure_dead_letters(0)
    send_all(later)

    assert len(slack.posts) == 2
    assert "Fired and resolved within" in slack.texts[1]
    assert outcomes() == ["again", "delivered", "delivered"]
    assert not Delivery.objects.waiting().exists()


def test_notification_survives_a_crash_before_sending(slack: FakeSlack, later: Later) -> None:
    """The notification commits with the alert, so the next sender finds it."""
    measure_dead_letters(5)
    assert slack.posts == []
    later(4 * 3_600 - 10)
    send_all(later)
    assert slack.texts == ["🔴 Firing: 5 dead letters in default"]


def test_message_of_a_killed_sender_is_sent_again_and_labelled(slack: FakeSlack, later: Later) -> None:
    measure_dead_letters(5)
    addressing.address_notifications()
    leased = delivery.lease_message(all_targets()["slack"])
    assert leased
    delivery.post(leased)  # and nothing is recorded: the process was killed here
    send_all(later)
    assert len(slack.posts) == 1, "its lease still holds"

    later(60)
    send_all(later)
    assert len(slack.posts) == 2
    assert "This may be a repeat" in slack.texts[1]
    assert Delivery.objects.get().may_be_repeat


def test_answer_after_the_lease_does_not_change_the_channel(slack: FakeSlack, later: Later) -> None:
    measure_dead_letters(5)
    addressing.address_notifications()
    late = delivery.lease_message(all_targets()["slack"])
    assert late
    later(61)
    send_all(later)
    delivery.record_answer(late, ChannelAnswer(Outcome.BROKEN, "410 channel_is_archived"))

    assert Channel.objects.get().broken_since is None
    assert Delivery.objects.get().state == Delivery.State.SENT


def test_unchanged_value_after_a_restart_sends_nothing(slack: FakeSlack, later: Later) -> None:
    measure_dead_letters(5)
    send_all(later)
    later(3_600)
    for _ in range(3):
        measure_dead_letters(5)
        send_all(later)
    assert len(slack.posts) == 1


@pytest.mark.parametrize(("before", "posts"), [((5, 1, 4), 1), ((10, 9, 10, 11), 1), ((5, 0, 5), 3)])
def test_changing_values_send_only_state_changes(
    slack: FakeSlack, later: Later, before: tuple[int, ...], posts: int
) -> None:
    """5, 1, 4 and 10, 9, 10, 11 are one problem each. 5, 0, 5 are two problems with a resolution in between."""
    for count in before:
        measure_dead_letters(count)
        send_all(later)
    assert len(slack.posts) == posts


def test_news_and_tenfold_growth_are_sent(slack: FakeSlack, later: Later) -> None:
    measure_dead_letters(5)
    send_all(later)
    measure_dead_letters(6, news="1 dead letter of a new group: TimeoutError.")
    send_all(later)
    measure_dead_letters(59)
    send_all(later)
    measure_dead_letters(60)
    send_all(later)
    notifications = list(Notification.objects.values_list("kind", "news"))
    assert notifications == [
        ("firing", ""),
        ("news", "1 dead letter of a new group: TimeoutError."),
        ("news", "The value has grown from 6 to 60."),
    ]
    assert len(slack.posts) == 3


@pytest.mark.parametrize(
    ("rule", "silent", "loud"), [("stale_jobs_day", 5, 6), ("limited_requests_hour", 100, 101)]
)
def test_value_above_the_threshold_is_sent_once(
    slack: FakeSlack, later: Later, rule: str, silent: int, loud: int
) -> None:
    for value, posts in ((silent, 0), (loud, 1), (loud, 1)):
        notify.measure(rule, value)
        send_all(later)
        assert len(slack.posts) == posts, value


@pytest.mark.parametrize(
    ("status", "body"), [(410, "channel_is_archived"), (404, "no_service"), (403, "action_prohibited")]
)
def test_permanent_rejection_stops_posting_and_uses_the_fallback(
    slack: FakeSlack, later: Later, settings: Any, status: int, body: str
) -> None:
    slack.always = Reply(status, body)
    with serve() as pager:
        settings.OPSCONSOLE_ALERT_CHANNELS = {"pager": pager.url.replace("http://", "json://")}
        settings.OPSCONSOLE_ALERT_FALLBACK = "pager"
        measure_dead_letters(5)
        send_all(later)

        assert len(slack.posts) == 1, "no loop"
        channel = Channel.objects.get(pk="slack")
        assert channel.broken_since and channel.broken_why == f"{status} {body}"
        assert len(pager.posts) == 1
        assert "5 dead letters in default" in pager.posts[0]["title"]
        assert "'slack' does not accept messages" in pager.posts[0]["message"]

        measure_dead_letters(0)
        send_all(later)
        assert len(slack.posts) == 1
        assert "Resolved" in pager.posts[1]["title"]


def test_without_a_fallback_deliveries_wait_for_a_successful_test(slack: FakeSlack, later: Later) -> None:
    from alerts.sending import channel_test

    slack.replies = [Reply(410, "channel_is_archived")]
    measure_dead_letters(5)
    send_all(later)
    assert len(slack.posts) == 1
    assert Delivery.objects.waiting().count() == 1

    channel_test.send("slack", "olga")
    send_all(later)
    assert [text.partition(":")[0] for text in slack.texts[1:]] == ["✅ Test", "🔴 Firing"]
    assert Channel.objects.get().broken_since is None


def test_new_webhook_is_tried_at_once(slack: FakeSlack, settings: Any, later: Later) -> None:
    """It was silent until somebody sent a test."""
    slack.always = Reply(404, "no_service")
    measure_dead_letters(5)
    send_all(later)
    assert Delivery.objects.waiting().count() == len(slack.posts) == 1

    with serve() as rotated:
        settings.SLACK_WEBHOOK_URL = rotated.url
        assert banner._read() is None, "the new address is not broken"
        delivery.deliver()
        assert rotated.texts == ["🔴 Firing: 5 dead letters in default"]
        assert Channel.objects.get().broken_since is None

    # A sender that was not restarted keeps away from the old address.
    settings.SLACK_WEBHOOK_URL = slack.url
    measure_dead_letters(0)
    send_all(later)
    assert len(slack.posts) == 1
    found = banner._read()
    assert found and "no longer reach slack" in found.sentence


def test_new_webhook_does_not_wait_out_the_failures_of_the_old_one(
    slack: FakeSlack, settings: Any, later: Later
) -> None:
    slack.always = Reply(429, "rate_limited", {"Retry-After": "3600"})
    measure_dead_letters(5)
    delivery.deliver()
    with serve() as rotated:
        settings.SLACK_WEBHOOK_URL = rotated.url
        delivery.deliver()
        assert len(rotated.posts) == 1
        settings.SLACK_WEBHOOK_URL = slack.url
        measure_dead_letters(0)
        rotated_channel = Channel.objects.get()
        assert (rotated_channel.failures, rotated_channel.failing_since) == (0, None)


def test_channel_never_stores_its_address(slack: FakeSlack, later: Later) -> None:
    measure_dead_letters(5)
    send_all(later)
    stored = str(Channel.objects.values().get())
    assert all_targets()["slack"].digest in stored
    assert "secret-word" not in stored and "127.0.0.1" not in stored


def test_new_address_that_is_broken_as_well_uses_the_fallback(
    slack: FakeSlack, settings: Any, later: Later
) -> None:
    slack.always = Reply(404, "no_service")
    with serve() as rotated, serve() as pager:
        rotated.always = Reply(410, "channel_is_archived")
        settings.OPSCONSOLE_ALERT_CHANNELS = {"pager": pager.url.replace("http://", "json://")}
        settings.OPSCONSOLE_ALERT_FALLBACK = "pager"
        measure_dead_letters(5)
        send_all(later)
        settings.SLACK_WEBHOOK_URL = rotated.url
        measure_dead_letters(0)
        send_all(later)
        assert [len(server.posts) for server in (slack, rotated, pager)] == [1, 1, 2]
        assert Channel.objects.get(pk="slack").broken_why == "410 channel_is_archived"


def test_refusal_by_a_proxy_does_not_break_the_channel(slack: FakeSlack, later: Later) -> None:
    slack.replies = [Reply(403, "<html>Forbidden by the proxy</html>")]
    measure_dead_letters(5)
    delivery.deliver()
    assert Channel.objects.get().broken_since is None
    later(5)
    send_all(later)
    assert len(slack.posts) == 2


def test_rejected_message_is_sent_again_in_the_plain_format(slack: FakeSlack, later: Later) -> None:
    slack.replies = [Reply(400, "invalid_blocks")]
    measure_dead_letters(5)
    send_all(later)
    assert "blocks" in slack.posts[0]
    assert slack.posts[1] == {"text": "🔴 Firing: 5 dead letters in default", "mrkdwn": False}
    assert outcomes() == ["malformed", "delivered"]


def test_channel_that_rejects_the_plain_format_is_broken(slack: FakeSlack, later: Later) -> None:
    slack.always = Reply(400, "invalid_payload")
    measure_dead_letters(5)
    send_all(later)
    assert len(slack.posts) == 2
    assert Channel.objects.get().broken_why == "400 invalid_payload"


@pytest.mark.parametrize("reply", [Reply(500, "rollup_error"), Reply(503), Reply(302, "elsewhere")])
def test_temporary_failure_is_retried_with_backoff(slack: FakeSlack, later: Later, reply: Reply) -> None:
    slack.always = reply
    measure_dead_letters(5)
    for turn in range(1, 4):
        delivery.deliver()
        delivery.deliver()
        assert len(slack.posts) == turn
        channel = Channel.objects.get()
        assert channel.failures == turn
        later(2**turn * 1.2)
    slack.always = None
    send_all(later)
    assert Channel.objects.get().failures == 0
    assert not any("repeat" in text for text in slack.texts)


def test_unexpected_body_is_an_unknown_outcome(slack: FakeSlack, later: Later) -> None:
    slack.replies = [Reply(200, "<html>Please log in</html>")]
    measure_dead_letters(5)
    delivery.deliver()
    assert Delivery.objects.get().state == Delivery.State.WAITING
    later(5)
    send_all(later)
    assert "This may be a repeat" in slack.texts[1]


def test_hanging_channel_times_out_and_the_repeat_is_labelled(
    slack: FakeSlack, later: Later, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posting, "answer_in_time", lambda call: answer_in_time(call, 0.3))
    slack.replies = [HANG]
    measure_dead_letters(5)
    delivery.deliver()
    assert Attempt.objects.get().answer == "No answer within 0.3 s"
    later(5)
    send_all(later)
    assert len(slack.posts) == 2
    assert "This may be a repeat" in slack.texts[1]
    assert outcomes() == ["unknown", "delivered"]


answer_in_time = posting.answer_in_time


def test_refused_connection_is_retried_without_a_label(slack: FakeSlack, settings: Any, later: Later) -> None:
    settings.SLACK_WEBHOOK_URL = "http://127.0.0.1:1/services/secret-word"
    measure_dead_letters(5)
    delivery.deliver()
    attempt = Attempt.objects.get()
    assert attempt.outcome == Outcome.AGAIN
    assert attempt.answer == "No answer (ConnectionError)", "the address is a secret"
    later(5)
    settings.SLACK_WEBHOOK_URL = slack.url
    send_all(later)
    assert "repeat" not in slack.texts[0]


def test_fallback_is_used_for_a_channel_that_fails_for_long(
    slack: FakeSlack, later: Later, settings: Any
) -> None:
    slack.always = Reply(503)
    with serve() as pager:
        settings.OPSCONSOLE_ALERT_CHANNELS = {"pager": pager.url.replace("http://", "json://")}
        settings.OPSCONSOLE_ALERT_FALLBACK = "pager"
        measure_dead_letters(5)
        send_all(later)
        assert pager.posts == []
        later(600)
        send_all(later)
        assert len(pager.posts) == 1
    slack.always = None
    later(400)
    send_all(later)
    assert slack.texts[-1] == "🔴 Firing: 5 dead letters in default"


def test_channel_gets_at_most_one_message_per_second(
    slack: FakeSlack, later: Later, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert timedelta(seconds=1) == delivery.BETWEEN_POSTS
    # A slow machine may take a second for a few turns, but no minute.
    monkeypatch.setattr(delivery, "BETWEEN_POSTS", timedelta(minutes=1))
    for name in ("one", "two", "three"):
        notify.fire(name, Trouble(title=name, severity="warning"))
    delivery.deliver()
    later(60)
    for _ in range(3):
        delivery.deliver()
    assert len(slack.posts) == 2
    later(30)
    delivery.deliver()
    assert len(slack.posts) == 2
    later(30)
    delivery.deliver()
    assert len(slack.posts) == 3


def test_many_waiting_alerts_are_sent_as_one_message(slack: FakeSlack, later: Later) -> None:
    for number in range(12):
        notify.fire(f"thing-{number}", Trouble(title=f"Thing {number}", severity="warning"))
    send_all(later)
    assert len(slack.posts) == 1
    blocks = slack.posts[0]["blocks"]
    assert len(blocks) == 11
    assert blocks[-1]["elements"][0]["text"] == "and 2 more."
    assert "Thing 11" in slack.texts[0]


def test_notifications_wait_while_no_channel_is_configured(
    slack: FakeSlack, settings: Any, later: Later
) -> None:
    settings.SLACK_WEBHOOK_URL = None
    measure_dead_letters(5)
    send_all(later)
    settings.SLACK_WEBHOOK_URL = slack.url
    send_all(later)
    assert len(slack.posts) == 1


def test_old_notifications_are_not_sent_to_the_first_channel(
    slack: FakeSlack, settings: Any, later: Later
) -> None:
    measure_dead_letters(5)
    later(2 * 86_400)
    send_all(later)
    assert slack.posts == []
    assert not Notification.objects.filter(addressed_at=None).exists()


@pytest.mark.django_db(transaction=True)
def test_concurrent_clusters_send_one_message_per_alert(slack: FakeSlack, later: Later) -> None:
    for turn in range(5):
        race([lambda: measure_dead_letters(5)] * 4)
        race([delivery.deliver] * 4)
        later(2)
        race([delivery.deliver] * 4)
        assert Alert.objects.open().count() == 1
        assert len(slack.posts) == 2 * turn + 1
        measure_dead_letters(0)
        later(2)
        race([delivery.deliver] * 4)
        assert len(slack.posts) == 2 * turn + 2
        later(2)
