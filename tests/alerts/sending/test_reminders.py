"""Reminders, snoozes, late monitors, unknown values and rule changes."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from alerts import notify, operator_decisions, rules
from alerts.models import Alert, Monitor, Notification
from alerts.notify import Trouble
from alerts.operator_decisions import DecisionRefused
from alerts.rules import RuleSettings
from alerts.sending import delivery, reminders
from alerts.watch import monitor_alerts
from tests.alerts.conftest import Later
from tests.fakes.slack import FakeSlack
from tests.racing import race

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("rules_without_delay")]

HOUR = 3_600.0


def kinds() -> list[str]:
    return list(Notification.objects.order_by("pk").values_list("kind", flat=True))


def in_hours(hours: float) -> datetime:
    now: datetime = Alert.objects.values_list(Now(), flat=True)[0]
    return now + timedelta(hours=hours)


def test_reminders_are_sent_every_four_hours_for_six_days(slack: FakeSlack, later: Later) -> None:
    """The alert keeps its start, and nothing is sent in between."""
    notify.measure("dlq_not_empty", 5, scope="default")
    alert = Alert.objects.get()
    for _ in range(6 * 24):
        later(HOUR)
        notify.measure("dlq_not_empty", 5, scope="default")
        reminders.remind()
    now: datetime = Alert.objects.values_list(Now(), flat=True).get()
    assert kinds() == ["firing"] + ["reminder"] * 36
    assert Alert.objects.get().pk == alert.pk
    assert timedelta(days=6) <= now - Alert.objects.get().since < timedelta(days=6, minutes=5)
    delivery.deliver()
    assert "Still firing after 6 d" in slack.texts[0]


def test_without_open_alerts_one_question_is_asked() -> None:
    notify.measure("dlq_not_empty", 5, scope="default")
    notify.measure("dlq_not_empty", 0, scope="default")
    with CaptureQueriesContext(connection) as captured:
        assert reminders.remind() == 0
    assert len(captured) == 1


def test_alert_that_is_fired_once_gets_reminders(later: Later) -> None:
    notify.fire("mass-staleness", Trouble(title="22 runs", severity="critical"))
    later(HOUR - 60)
    assert reminders.remind() == 0
    later(60)
    assert (reminders.remind(), reminders.remind()) == (1, 0)


def test_reminder_interval_without_a_rule_depends_on_the_severity(later: Later) -> None:
    notify.fire("something", Trouble(title="x", severity="warning"))
    later(24 * HOUR - 60)
    assert reminders.remind() == 0
    later(60)
    assert reminders.remind() == 1


def test_acknowledged_alert_sends_only_growth_and_breakthrough_news(later: Later) -> None:
    notify.measure("dlq_not_empty", 5)
    alert = Alert.objects.get()
    assert operator_decisions.acknowledge(alert.pk, "olga", "Looking.")
    later(10 * HOUR)
    notify.measure("dlq_not_empty", 6, Trouble(news="one more"))
    reminders.remind()
    assert Alert.objects.get().state == Alert.State.ACKNOWLEDGED
    assert kinds() == ["firing"]
    notify.measure("dlq_not_empty", 7, Trouble(news="a new group", breaks_through=True))
    assert kinds() == ["firing", "news"]
    assert Alert.objects.get().state == Alert.State.FIRING

    assert operator_decisions.acknowledge(alert.pk, "olga", "Looking at that, too.")
    notify.measure("dlq_not_empty", 69)
    assert kinds() == ["firing", "news"]
    notify.measure("dlq_not_empty", 70)
    assert kinds() == ["firing", "news", "news"]


def test_end_of_a_snooze_is_sent_once(later: Later) -> None:
    notify.measure("dlq_not_empty", 5)
    alert = Alert.objects.get()
    assert operator_decisions.snooze(alert.pk, in_hours(5), "olga", "After the release.")
    later(4.9 * HOUR)
    assert reminders.remind() == 0
    later(0.2 * HOUR)
    assert (reminders.remind(), reminders.remind()) == (1, 0)
    assert Alert.objects.get().state == Alert.State.FIRING
    assert Notification.objects.latest("pk").news == "The snooze by olga has ended."


@pytest.mark.parametrize("hours", [-1, 0, 24 * 31])
def test_snooze_needs_an_end_within_30_days(hours: float) -> None:
    notify.measure("dlq_not_empty", 5)
    with pytest.raises(DecisionRefused, match="Enter an end for the snooze"):
        operator_decisions.snooze(Alert.objects.get().pk, in_hours(hours), "olga", "x")


def test_only_resolving_needs_a_reason() -> None:
    notify.measure("dlq_not_empty", 5)
    pk = Alert.objects.get().pk
    with pytest.raises(DecisionRefused, match="Give a reason"):
        operator_decisions.resolve(pk, "olga", "")
    assert Alert.objects.get().state == Alert.State.FIRING
    assert operator_decisions.acknowledge(pk, "olga", " ")
    assert operator_decisions.snooze(pk, in_hours(1), "olga", "")
    assert Alert.objects.get().handled_reason == ""


def test_manually_resolved_alert_fires_again_if_the_problem_persists() -> None:
    notify.measure("dlq_not_empty", 5)
    pk = Alert.objects.get().pk
    assert operator_decisions.resolve(pk, "olga", "Done by hand.")
    assert not operator_decisions.resolve(pk, "olga", "Again.")
    assert not operator_decisions.acknowledge(pk, "olga", "Too late.")
    assert not operator_decisions.snooze(pk, in_hours(1), "olga", "Too late.")
    assert Alert.objects.get().state == Alert.State.RESOLVED
    notify.measure("dlq_not_empty", 5)
    assert kinds() == ["firing", "resolved", "firing"]


@pytest.mark.django_db(transaction=True)
def test_concurrent_acknowledgement_does_not_reopen_a_resolved_alert() -> None:
    """oncall#3161: an acknowledgement un-resolved a resolved alert."""
    for _ in range(15):
        notify.measure("dlq_not_empty", 5)
        pk = Alert.objects.open().get().pk
        acknowledged, *_ = race(
            [
                partial(operator_decisions.acknowledge, pk, "olga", "Looking."),
                partial(notify.measure, "dlq_not_empty", 0),
                partial(notify.resolve, "dlq_not_empty"),
                partial(operator_decisions.snooze, pk, in_hours(1), "vera", "Later."),
            ]
        )
        alert = Alert.objects.get(pk=pk)
        assert alert.state == Alert.State.RESOLVED and alert.resolved_at
        assert acknowledged in {True, False}
        assert Notification.objects.filter(alert=pk, kind="resolved").count() == 1
        # The snooze would outlive the alert.
        Alert.objects.update(snoozed_until=None)


@pytest.mark.django_db(transaction=True)
def test_concurrent_senders_create_one_reminder(later: Later) -> None:
    notify.measure("dlq_not_empty", 5)
    later(5 * HOUR)
    assert sum(race([reminders.remind] * 4)) == 1
    assert kinds() == ["firing", "reminder"]


def test_monitor_is_late_after_two_intervals_until_it_succeeds(later: Later) -> None:
    notify.monitor_ok("sweep", timedelta(minutes=2))
    later(230)
    assert monitor_alerts.judge() == []
    later(20)
    assert monitor_alerts.judge() == ["sweep"]
    assert monitor_alerts.judge() == ["sweep"]
    assert Alert.objects.open().get().fingerprint == "monitor_late:sweep"
    notify.monitor_ok("sweep", timedelta(minutes=2))
    assert monitor_alerts.judge() == []
    assert kinds() == ["firing", "resolved"]


def test_judging_monitors_that_are_in_time_asks_one_question() -> None:
    notify.monitor_ok("sweep", timedelta(minutes=2))
    with CaptureQueriesContext(connection) as captured:
        assert monitor_alerts.judge() == []
    assert len(captured) == 1


def test_forgotten_monitor_is_not_late(later: Later) -> None:
    notify.monitor_ok("dlq check of slow", timedelta(minutes=5))
    later(3_600)
    monitor_alerts.judge()
    Monitor.objects.all().delete()
    monitor_alerts.judge()
    assert not Alert.objects.open().exists()


def test_four_hours_of_downtime_raise_one_alert(slack: FakeSlack, later: Later) -> None:
    notify.monitor_ok("sweep", timedelta(minutes=2))
    later(4 * HOUR)
    for _ in range(3):
        monitor_alerts.judge()
    notify.monitor_ok("sweep", timedelta(minutes=2))
    monitor_alerts.judge()
    for _ in range(3):
        delivery.deliver()
        later(2)
    assert len(slack.posts) == 1
    assert "Fired and resolved" in slack.texts[0]


def test_value_unknown_for_long_raises_an_alert_until_it_is_known(later: Later) -> None:
    """A failed measurement is unknown, not 0."""
    notify.measure("dlq_not_empty", 5, scope="default")
    for minutes, open_alerts in ((0, 1), (9, 1), (2, 2)):
        later(minutes * 60)
        notify.measure("dlq_not_empty", None, scope="default", why_unknown="AccessDenied")
        assert Alert.objects.open().count() == open_alerts
    unreadable = Alert.objects.get(fingerprint="dlq_unreadable:default")
    assert unreadable.title == "Dead letter queue can't be read (default) for 11 minutes"
    assert unreadable.summary == "AccessDenied"
    assert ["Last known", "5"] in unreadable.facts
    notify.measure("dlq_not_empty", 5, scope="default")
    assert Alert.objects.open().get().fingerprint == "dlq_not_empty:default"


def test_alert_about_an_unknown_value_names_the_rule(later: Later) -> None:
    notify.measure("limited_requests_hour", None, why_unknown="The store is away.")
    later(16 * 60)
    notify.measure("limited_requests_hour", None, why_unknown="The store is away.")
    assert Alert.objects.get().fingerprint == "gauge_unreadable:limited_requests_hour"


def rule_settings(**changes: Any) -> RuleSettings:
    plain = {
        "enabled": True,
        "threshold": 5.0,
        "hysteresis": 1.0,
        "severity": "warning",
        "reminder_interval": timedelta(days=1),
        "keep_firing_for": timedelta(0),
        "news_interval": timedelta(minutes=15),
    }
    return RuleSettings(**{**plain, **changes})


def test_changed_threshold_applies_to_the_next_value() -> None:
    notify.measure("stale_jobs_day", 6)
    rules.change("stale_jobs_day", rule_settings(threshold=8.0, severity="critical"), "olga", "We grew.")
    notify.measure("stale_jobs_day", 6)
    assert not Alert.objects.open().exists()
    notify.measure("stale_jobs_day", 9)
    alert = Alert.objects.open().get()
    assert (alert.threshold, alert.severity) == (8, "critical")


def test_disabled_rule_fires_nothing_and_resolves_its_alerts() -> None:
    notify.measure("stale_jobs_day", 6)
    rules.change("stale_jobs_day", rule_settings(enabled=False), "olga", "Being rebuilt.")
    notify.measure("stale_jobs_day", 7)
    assert not Alert.objects.open().exists()
    notify.fire("stale_jobs_day", Trouble(title="x", severity="info"))
    assert not Alert.objects.open().exists()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"threshold": -1.0}, "threshold must be"),
        ({"threshold": None}, "threshold must be"),
        ({"hysteresis": 6.0}, "hysteresis must be"),
        ({"reminder_interval": timedelta(0)}, "reminder interval must be"),
        ({"reminder_interval": timedelta(days=31)}, "reminder interval must be"),
    ],
)
def test_invalid_rule_settings_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(rules.RuleRefused, match=sentence):
        rules.change("stale_jobs_day", rule_settings(**changes), "olga", "x")
    with pytest.raises(rules.RuleRefused, match="Give a reason"):
        rules.change("stale_jobs_day", rule_settings(), "olga", " ")
