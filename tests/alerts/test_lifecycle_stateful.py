"""Any order of figures, decisions, time, failing posts and dying senders: no episode goes untold, none is told twice."""

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
from alerts.sending import addressing, delivery, reminders
from alerts.sending.delivery import LeasedMessage
from tests.alerts import clock

RULE = "dlq_not_empty"
REMIND = 4 * 3_600.0
LEASE = 60.0
# So near to the moment at which a reminder is due, the test itself is too slow to say on which side it is.
BLUR = 60.0


class OneAlert(RuleBasedStateMachine):
    """The figure of one rule, a person, any number of senders, and a Slack that is not always there.

    ``told`` is what a simple model says people have to hear; ``heard`` is what reached Slack, post by post.
    """

    def __init__(self) -> None:
        super().__init__()
        for model in (Attempt, Delivery, Notification, Alert, Gauge, Channel):
            model.objects.all().delete()
        self.told: list[str] = []
        self.heard: list[list[int]] = []
        self.labelled: set[int] = set()
        self.state = "none"
        self.told_value = 0.0
        self.told_ago = 0.0
        self.snooze_left = 0.0
        self.value = 0.0
        self.orphans: list[LeasedMessage] = []

    # --- what happens ---

    @rule(value=st.sampled_from([0, 0, 1, 2, 5, 9, 10, 11, 60, 700]))
    def a_figure_is_measured(self, value: float) -> None:
        self._settle_blur()
        notify.measure(RULE, value)
        if value == 0:
            self._expect_resolved()
            return
        self._expect_wrong(value, news=False, breaks=False)

    @rule(value=st.sampled_from([1, 5, 11]), breaks=st.booleans())
    def something_new_is_found(self, value: float, breaks: bool) -> None:
        self._settle_blur()
        notify.measure(RULE, value, news="A new group.", breaks_through=breaks)
        self._expect_wrong(value, news=True, breaks=breaks)

    @rule()
    def the_figure_can_not_be_read(self) -> None:
        notify.measure(RULE, None, why_unknown="AccessDenied")
        # It may have been unknown for long by now; that alert is another one.
        Alert.objects.exclude(fingerprint=RULE).delete()

    @precondition(lambda self: self.state != "none")
    @rule()
    def somebody_acknowledges(self) -> None:
        assert operator_decisions.acknowledge(self.open_pk(), "olga", "Looking.")
        self.state = "acknowledged"

    @precondition(lambda self: self.state != "none")
    @rule(hours=st.sampled_from([1, 12]))
    def somebody_snoozes(self, hours: int) -> None:
        now: datetime = Alert.objects.values_list(Now(), flat=True)[0]
        assert operator_decisions.snooze(self.open_pk(), now + timedelta(hours=hours), "olga", "Later.")
        self.state, self.snooze_left = "snoozed", hours * 3_600.0

    @precondition(lambda self: self.state != "none")
    @rule()
    def somebody_resolves_by_hand(self) -> None:
        assert operator_decisions.resolve(self.open_pk(), "olga", "Done.")
        self._expect_resolved()

    @rule(seconds=st.sampled_from([2, 70, 600, 3_600, 15_000]))
    def time_passes(self, seconds: float) -> None:
        clock.move(timedelta(seconds=seconds))
        self.told_ago += seconds
        self.snooze_left -= seconds

    @rule()
    def the_clock_is_looked_at(self) -> None:
        self._settle_blur()
        reminders.remind()
        if self.state == "snoozed" and self.snooze_left <= 0:
            self.state = "firing"
            self._tell("reminder")
        elif self.state == "firing" and self.told_ago >= REMIND:
            self._tell("reminder")

    @rule(
        fate=st.sampled_from(
            ["delivered", "delivered", "again", "swallowed", "answer lost", "killed before", "killed after"]
        )
    )
    def a_sender_has_its_turn(self, fate: str) -> None:
        addressing.address_notifications()
        leased = delivery.lease_message(all_targets()["slack"])
        if leased is None:
            return
        if fate in {"delivered", "answer lost", "killed after"}:
            self._reaches_slack(leased)
        if fate in {"killed before", "killed after"}:
            self.orphans.append(leased)
            return
        outcome = {"delivered": Outcome.DELIVERED, "again": Outcome.AGAIN}.get(fate, Outcome.UNKNOWN)
        delivery.record_answer(leased, ChannelAnswer(outcome, fate))

    @precondition(lambda self: self.orphans)
    @rule()
    def a_sender_that_was_only_slow_comes_back(self) -> None:
        # It may have posted before it fell silent: an answer that says it did not would be a lie.
        delivery.record_answer(self.orphans.pop(), ChannelAnswer(Outcome.UNKNOWN, "late"))

    # --- the model ---

    def open_pk(self) -> int:
        return int(Alert.objects.open().get(fingerprint=RULE).pk)

    def _tell(self, kind: str) -> None:
        self.told.append(kind)
        self.told_value, self.told_ago = self.value, 0.0

    def _expect_wrong(self, value: float, *, news: bool, breaks: bool) -> None:
        self.value = value
        if self.state == "none":
            self.state = "firing"
            self._tell("firing")
        elif value >= 10 * max(self.told_value, 1):
            self.state = "firing"
            self._tell("news")
        elif news and (breaks or self.state == "firing"):
            self.state = "firing" if breaks else self.state
            self._tell("news")
        elif self.state == "firing" and self.told_ago >= REMIND:
            self._tell("reminder")

    def _expect_resolved(self) -> None:
        if self.state != "none":
            self.told.append("resolved")
        self.state = "none"

    def _settle_blur(self) -> None:
        """Let no reminder and no snooze be due within the seconds that the test itself may take."""
        if abs(self.told_ago - REMIND) < BLUR or abs(self.snooze_left) < BLUR:
            self.time_passes(2 * BLUR)

    def _reaches_slack(self, leased: LeasedMessage) -> None:
        rows = Delivery.objects.filter(pk__in=leased.ids).order_by("notification_id")
        ids = list(rows.values_list("notification_id", flat=True))
        repeats = {pk for pk in ids if any(pk in post for post in self.heard)}
        labelled = any("repeat" in remark for remark in leased.message.remarks)
        assert labelled or not repeats, "told twice, and not labelled"
        self.heard.append(ids)

    # --- what must hold ---

    @invariant()
    def people_are_to_hear_what_the_model_says(self) -> None:
        about = Notification.objects.filter(alert__fingerprint=RULE)
        assert list(about.order_by("pk").values_list("kind", flat=True)) == self.told

    @invariant()
    def the_state_is_that_of_the_model(self) -> None:
        found = Alert.objects.open().filter(fingerprint=RULE).values_list("state", flat=True)
        assert list(found) == ([] if self.state == "none" else [self.state])

    def teardown(self) -> None:
        """Slack is back, and senders have their turns: then everything was heard, in order."""
        while Delivery.objects.waiting().exists() or Notification.objects.filter(addressed_at=None).exists():
            clock.move(timedelta(seconds=LEASE * 10))
            addressing.address_notifications()
            if leased := delivery.lease_message(all_targets()["slack"]):
                self._reaches_slack(leased)
                delivery.record_answer(leased, ChannelAnswer(Outcome.DELIVERED, "ok"))
        first_heard = list(dict.fromkeys(pk for post in self.heard for pk in post))
        addressed = Delivery.objects.order_by("notification_id").values_list("notification_id", flat=True)
        assert first_heard == list(addressed)
        self._every_episode_was_told_once()

    def _every_episode_was_told_once(self) -> None:
        told = Counter(
            Delivery.objects.filter(notification__kind__in=["firing", "resolved"]).values_list(
                "notification__alert", "notification__kind"
            )
        )
        for alert in Alert.objects.filter(fingerprint=RULE, notifications__deliveries__isnull=False):
            assert told[alert.pk, "firing"] == 1
            assert told[alert.pk, "resolved"] == (0 if alert.open else 1)


@pytest.mark.django_db
def test_any_order_of_events(settings_of_slack: Any) -> None:
    run_state_machine_as_test(OneAlert, settings=PROFILE)


PROFILE = settings(
    # The same orders in each run, so that a change is judged by what it changed.
    derandomize=True,
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    database=None,
    # Shrinking a failure takes minutes on a real database; the steps are readable as they are.
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.fixture
def settings_of_slack(settings: Any) -> None:
    settings.SLACK_WEBHOOK_URL = "http://127.0.0.1:1/never-posted-to"
    settings.OPSCONSOLE_ALERT_CHANNELS = {}
