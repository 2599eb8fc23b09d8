"""Alerts under any order of measurements, decisions, passing time, failing posts and killed senders."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from alerts import notify, operator_decisions
from alerts.channels.outcome import ChannelAnswer, Outcome
from alerts.channels.targets import all_targets
from alerts.models import Alert, Attempt, Channel, Delivery, Gauge, Notification
from alerts.notify import Trouble
from alerts.sending import addressing, delivery, reminders
from alerts.sending.delivery import LeasedMessage
from tests.alerts import clock

RULE = "dlq_not_empty"
REMIND = 4 * 3_600.0
KEEP_FIRING = 900.0
NEWS_INTERVAL = 900.0
LEASE = 60.0
# So close to the time at which a reminder is due, the duration of the test itself would decide.
MARGIN = 60.0


class AlertLifecycle(RuleBasedStateMachine):
    """The values of one rule, an operator, any number of senders, and a Slack that is not always available.

    ``expected`` lists the notifications of a simple model; ``received`` lists what reached Slack, post by post.
    """

    def __init__(self) -> None:
        super().__init__()
        for model in (Attempt, Delivery, Notification, Alert, Gauge, Channel):
            model.objects.all().delete()
        self.expected: list[str] = []
        self.received: list[list[int]] = []
        self.labelled: set[int] = set()
        self.state = "none"
        # Whether the open alert has sent anything. It has not if it opened during a snooze.
        self.told = False
        self.clear_for: float | None = None
        self.held = self.held_breaks = False
        self.notified_value: float | None = None
        self.notified_ago = 0.0
        self.snooze_left = 0.0
        self.value = 0.0
        self.stalled: list[LeasedMessage] = []

    # --- events ---

    @rule(value=st.sampled_from([0, 0, 1, 2, 5, 9, 10, 11, 60, 700]))
    def measure(self, value: float) -> None:
        self._avoid_due_times()
        notify.measure(RULE, value)
        if value == 0:
            self._expect_clear()
            return
        self._expect_firing(value, news=False, breaks=False)

    @rule(value=st.sampled_from([1, 5, 11]), breaks=st.booleans())
    def measure_with_news(self, value: float, breaks: bool) -> None:
        self._avoid_due_times()
        notify.measure(RULE, value, Trouble(news="A new group.", breaks_through=breaks))
        self._expect_firing(value, news=True, breaks=breaks)

    @rule()
    def fail_to_measure(self) -> None:
        notify.measure(RULE, None, why_unknown="AccessDenied")
        self.clear_for = None
        # If the value is unknown for long, that raises another alert, which is not tested here.
        Alert.objects.exclude(fingerprint=RULE).delete()

    @precondition(lambda self: self.state != "none")
    @rule()
    def acknowledge(self) -> None:
        assert operator_decisions.acknowledge(self.open_pk(), "olga", "Looking.")
        self.state, self.snooze_left = "acknowledged", 0.0

    @precondition(lambda self: self.state != "none")
    @rule(hours=st.sampled_from([1, 12]))
    def snooze(self, hours: int) -> None:
        now: datetime = Alert.objects.values_list(Now(), flat=True)[0]
        assert operator_decisions.snooze(self.open_pk(), now + timedelta(hours=hours), "olga", "Later.")
        self.state, self.snooze_left = "snoozed", hours * 3_600.0

    @precondition(lambda self: self.state != "none")
    @rule()
    def resolve_manually(self) -> None:
        assert operator_decisions.resolve(self.open_pk(), "olga", "Done.")
        self._expect_resolved()
        self.snooze_left = 0.0

    @rule(seconds=st.sampled_from([2, 70, 600, 3_600, 15_000]))
    def let_time_pass(self, seconds: float) -> None:
        clock.move(timedelta(seconds=seconds))
        self.notified_ago += seconds
        self.snooze_left -= seconds
        if self.clear_for is not None:
            self.clear_for += seconds

    @rule()
    def send_reminders(self) -> None:
        self._avoid_due_times()
        reminders.remind()
        if self.state == "snoozed" and self.snooze_left <= 0:
            self.state = "firing"
            if self.clear_for is None:
                self._expect("reminder" if self.told else "firing")
        if self.clear_for is not None and self.clear_for >= KEEP_FIRING:
            self._expect_resolved()
        if self.held and (self.held_breaks or self.state == "firing") and self._news_is_due():
            self._expect_news(breaks=True)
        elif self.state == "firing" and self.clear_for is None and self.notified_ago >= REMIND:
            self._expect("reminder")

    @rule(
        outcome_of_post=st.sampled_from(
            ["delivered", "delivered", "again", "swallowed", "answer lost", "killed before", "killed after"]
        )
    )
    def run_sender(self, outcome_of_post: str) -> None:
        addressing.address_notifications()
        leased = delivery.lease_message(all_targets()["slack"])
        if leased is None:
            return
        if outcome_of_post in {"delivered", "answer lost", "killed after"}:
            self._receive(leased)
        if outcome_of_post in {"killed before", "killed after"}:
            self.stalled.append(leased)
            return
        outcome = {"delivered": Outcome.DELIVERED, "again": Outcome.AGAIN}.get(
            outcome_of_post, Outcome.UNKNOWN
        )
        delivery.record_answer(leased, ChannelAnswer(outcome, outcome_of_post))

    @precondition(lambda self: self.stalled)
    @rule()
    def resume_stalled_sender(self) -> None:
        # The sender may have posted before it stalled, so the outcome is unknown.
        delivery.record_answer(self.stalled.pop(), ChannelAnswer(Outcome.UNKNOWN, "late"))

    # --- the model ---

    def open_pk(self) -> int:
        return int(Alert.objects.open().get(fingerprint=RULE).pk)

    def _expect(self, kind: str) -> None:
        self.expected.append(kind)
        self.notified_value, self.notified_ago, self.told = self.value, 0.0, True
        self.held = self.held_breaks = False

    def _expect_firing(self, value: float, *, news: bool, breaks: bool) -> None:
        self.value, self.clear_for = value, None
        if self.state == "none":
            self._expect_new()
            if self.state == "firing":
                return
        held, held_breaks = self.held or news, self.held_breaks or (news and breaks)
        if self.notified_value is not None and value >= 10 * max(self.notified_value, 1):
            self._expect_news(breaks=True)
        elif held and (held_breaks or self.state == "firing"):
            if self._news_is_due():
                self._expect_news(breaks=held_breaks)
            else:
                self.held, self.held_breaks = held, held_breaks
        elif self.state == "firing" and self.notified_ago >= REMIND:
            self._expect("reminder")

    def _expect_new(self) -> None:
        """A new alert is silent while a snooze of an earlier one lasts, and compares values with what that one sent."""
        if self.snooze_left > 0:
            self.state = "snoozed"
            return
        self.state = "firing"
        self._expect("firing")

    def _expect_news(self, *, breaks: bool) -> None:
        if breaks:
            self.state, self.snooze_left = "firing", 0.0
        self._expect("news" if self.told else "firing")

    def _news_is_due(self) -> bool:
        return not self.told or self.notified_ago >= NEWS_INTERVAL

    def _expect_clear(self) -> None:
        if self.state == "none":
            return
        if self.clear_for is not None and self.clear_for >= KEEP_FIRING:
            self._expect_resolved()
        elif self.clear_for is None:
            self.clear_for = 0.0
        self.value = 0.0

    def _expect_resolved(self) -> None:
        if self.told:
            self.expected.append("resolved")
        if self.state != "snoozed":
            self.snooze_left = 0.0
        self.state, self.told, self.clear_for = "none", False, None
        self.held = self.held_breaks = False

    def _avoid_due_times(self) -> None:
        """Make sure that nothing is due within the next seconds."""
        while any(abs(left) < MARGIN for left in self._times_left()):
            self.let_time_pass(2 * MARGIN)

    def _times_left(self) -> list[float]:
        clear_left = [] if self.clear_for is None else [KEEP_FIRING - self.clear_for]
        return [REMIND - self.notified_ago, NEWS_INTERVAL - self.notified_ago, self.snooze_left, *clear_left]

    def _receive(self, leased: LeasedMessage) -> None:
        rows = Delivery.objects.filter(pk__in=leased.ids).order_by("notification_id")
        ids = list(rows.values_list("notification_id", flat=True))
        repeats = {pk for pk in ids if any(pk in post for post in self.received)}
        labelled = any("repeat" in remark for remark in leased.message.remarks)
        assert labelled or not repeats, "a repeat was not labelled"
        self.received.append(ids)

    # --- invariants ---

    @invariant()
    def notifications_equal_the_model(self) -> None:
        about = Notification.objects.filter(alert__fingerprint=RULE)
        assert list(about.order_by("pk").values_list("kind", flat=True)) == self.expected

    @invariant()
    def state_equals_the_model(self) -> None:
        states = Alert.objects.open().filter(fingerprint=RULE).values_list("state", flat=True)
        assert list(states) == ([] if self.state == "none" else [self.state])

    def teardown(self) -> None:
        """Let senders run while Slack is available. Check that it received everything, in order."""
        while Delivery.objects.waiting().exists() or Notification.objects.filter(addressed_at=None).exists():
            clock.move(timedelta(seconds=LEASE * 10))
            addressing.address_notifications()
            if leased := delivery.lease_message(all_targets()["slack"]):
                self._receive(leased)
                delivery.record_answer(leased, ChannelAnswer(Outcome.DELIVERED, "ok"))
        first_received = list(dict.fromkeys(pk for post in self.received for pk in post))
        addressed = Delivery.objects.order_by("notification_id").values_list("notification_id", flat=True)
        assert first_received == list(addressed)
        self._check_that_each_episode_was_sent_once()

    def _check_that_each_episode_was_sent_once(self) -> None:
        counts = Counter(
            Delivery.objects.filter(notification__kind__in=["firing", "resolved"]).values_list(
                "notification__alert", "notification__kind"
            )
        )
        for alert in Alert.objects.filter(fingerprint=RULE, notifications__deliveries__isnull=False):
            assert counts[alert.pk, "firing"] == 1
            assert counts[alert.pk, "resolved"] == (0 if alert.open else 1)


@pytest.mark.django_db
def test_every_episode_is_sent_once_in_any_order_of_events(slack_settings: Any) -> None:
    run_state_machine_as_test(AlertLifecycle, settings=PROFILE)


PROFILE = settings(
    # Use the same sequences in each run, so that a failure is due to a change of the code.
    derandomize=True,
    max_examples=15,
    stateful_step_count=30,
    deadline=None,
    database=None,
    # Shrinking a failure would take minutes on a real database, and the steps are readable without it.
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.fixture
def slack_settings(settings: Any) -> None:
    settings.SLACK_WEBHOOK_URL = "http://127.0.0.1:1/never-posted-to"
    settings.OPSCONSOLE_ALERT_CHANNELS = {}
