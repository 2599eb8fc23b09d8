"""What time alone brings about."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from django.db.models.functions import Now

from alerts import notify, operator_decisions, rules
from alerts.models import Alert, Monitor, Notification
from alerts.operator_decisions import DecisionRefused
from alerts.rules import RuleSettings
from alerts.sending import delivery, reminders
from alerts.watch import monitors
from tests.alerts.conftest import Later
from tests.fakes.slack import FakeSlack
from tests.racing import race

pytestmark = pytest.mark.django_db

HOUR = 3_600.0


def kinds() -> list[str]:
    return list(Notification.objects.order_by("pk").values_list("kind", flat=True))


def in_hours(hours: float) -> datetime:
    now: datetime = Alert.objects.values_list(Now(), flat=True)[0]
    return now + timedelta(hours=hours)


def test_six_days_firing(slack: FakeSlack, later: Later) -> None:
    """Reminders on schedule, every four hours; "since" is that of the first day; nothing at other times."""
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


def test_one_that_nobody_repeats_is_reminded_of_all_the_same(later: Later) -> None:
    notify.fire("mass-staleness", title="22 runs", severity="critical")
    later(HOUR - 60)
    assert reminders.remind() == 0
    later(60)
    assert (reminders.remind(), reminders.remind()) == (1, 0)


def test_an_alert_of_no_rule_is_reminded_of_by_its_severity(later: Later) -> None:
    notify.fire("something", title="x", severity="warning")
    later(24 * HOUR - 60)
    assert reminders.remind() == 0
    later(60)
    assert reminders.remind() == 1


def test_acknowledged_is_quiet_but_for_growth_and_what_breaks_through(later: Later) -> None:
    notify.measure("dlq_not_empty", 5)
    alert = Alert.objects.get()
    assert operator_decisions.acknowledge(alert.pk, "olga", "Looking.")
    later(10 * HOUR)
    notify.measure("dlq_not_empty", 6, news="one more")
    reminders.remind()
    assert Alert.objects.get().state == Alert.State.ACKNOWLEDGED
    assert kinds() == ["firing"]
    notify.measure("dlq_not_empty", 7, news="a new group", breaks_through=True)
    assert kinds() == ["firing", "news"]
    assert Alert.objects.get().state == Alert.State.FIRING

    assert operator_decisions.acknowledge(alert.pk, "olga", "Looking at that, too.")
    notify.measure("dlq_not_empty", 69)
    assert kinds() == ["firing", "news"]
    notify.measure("dlq_not_empty", 70)
    assert kinds() == ["firing", "news", "news"]


def test_a_snooze_ends_once(later: Later) -> None:
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
def test_a_snooze_needs_an_end_that_can_be_meant(hours: float) -> None:
    notify.measure("dlq_not_empty", 5)
    with pytest.raises(DecisionRefused, match="Enter an end for the snooze"):
        operator_decisions.snooze(Alert.objects.get().pk, in_hours(hours), "olga", "x")


def test_every_decision_needs_a_reason() -> None:
    notify.measure("dlq_not_empty", 5)
    pk = Alert.objects.get().pk
    with pytest.raises(DecisionRefused, match="Give a reason"):
        operator_decisions.acknowledge(pk, "olga", " ")
    with pytest.raises(DecisionRefused, match="Give a reason"):
        operator_decisions.resolve(pk, "olga", "")
    with pytest.raises(DecisionRefused, match="Give a reason"):
        operator_decisions.snooze(pk, in_hours(1), "olga", "")
    assert Alert.objects.get().state == Alert.State.FIRING


def test_resolved_by_hand_is_told_and_fires_anew_when_it_persists() -> None:
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
def test_acknowledge_racing_resolve() -> None:
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


@pytest.mark.django_db(transaction=True)
def test_two_that_remind_at_once_tell_once(later: Later) -> None:
    notify.measure("dlq_not_empty", 5)
    later(5 * HOUR)
    assert sum(race([reminders.remind] * 4)) == 1
    assert kinds() == ["firing", "reminder"]


def test_a_monitor_is_late_after_two_intervals_and_tells_when_it_is_back(later: Later) -> None:
    notify.monitor_ok("sweep", timedelta(minutes=2))
    later(230)
    assert monitors.judge() == []
    later(20)
    assert monitors.judge() == ["sweep"]
    assert monitors.judge() == ["sweep"]
    assert Alert.objects.open().get().fingerprint == "monitor_late:sweep"
    notify.monitor_ok("sweep", timedelta(minutes=2))
    assert monitors.judge() == []
    assert kinds() == ["firing", "resolved"]


def test_a_monitor_that_is_forgotten_is_late_no_more(later: Later) -> None:
    notify.monitor_ok("dlq check of slow", timedelta(minutes=5))
    later(3_600)
    monitors.judge()
    Monitor.objects.all().delete()
    monitors.judge()
    assert not Alert.objects.open().exists()


def test_four_hours_of_downtime_are_one_late_monitor(slack: FakeSlack, later: Later) -> None:
    notify.monitor_ok("sweep", timedelta(minutes=2))
    later(4 * HOUR)
    for _ in range(3):
        monitors.judge()
    notify.monitor_ok("sweep", timedelta(minutes=2))
    monitors.judge()
    for _ in range(3):
        delivery.deliver()
        later(2)
    assert len(slack.posts) == 1
    assert "Fired and resolved" in slack.texts[0]


def test_not_knowing_for_long_is_an_alert_and_knowing_ends_it(later: Later) -> None:
    """Read fails: unknown, not 0."""
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


def test_other_figures_tell_of_not_knowing_by_their_own_name(later: Later) -> None:
    notify.measure("limited_requests_hour", None, why_unknown="The store is away.")
    later(16 * 60)
    notify.measure("limited_requests_hour", None, why_unknown="The store is away.")
    assert Alert.objects.get().fingerprint == "gauge_unreadable:limited_requests_hour"


def wish(**changes: Any) -> RuleSettings:
    plain = {
        "enabled": True,
        "threshold": 5.0,
        "hysteresis": 1.0,
        "severity": "warning",
        "reminder_interval": timedelta(days=1),
    }
    return RuleSettings(**{**plain, **changes})


def test_a_changed_threshold_counts_from_the_next_figure() -> None:
    notify.measure("stale_jobs_day", 6)
    rules.change("stale_jobs_day", wish(threshold=8.0, severity="critical"), "olga", "We grew.")
    notify.measure("stale_jobs_day", 6)
    assert not Alert.objects.open().exists()
    notify.measure("stale_jobs_day", 9)
    alert = Alert.objects.open().get()
    assert (alert.threshold, alert.severity) == (8, "critical")


def test_a_rule_that_is_off_fires_no_more_and_ends_what_is_open() -> None:
    notify.measure("stale_jobs_day", 6)
    rules.change("stale_jobs_day", wish(enabled=False), "olga", "Being rebuilt.")
    notify.measure("stale_jobs_day", 7)
    assert not Alert.objects.open().exists()
    notify.fire("stale_jobs_day", title="x", severity="info")
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
def test_numbers_that_can_not_be_meant_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(rules.RuleRefused, match=sentence):
        rules.change("stale_jobs_day", wish(**changes), "olga", "x")
    with pytest.raises(rules.RuleRefused, match="Give a reason"):
        rules.change("stale_jobs_day", wish(), "olga", " ")
