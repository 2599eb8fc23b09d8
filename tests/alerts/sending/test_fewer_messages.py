"""Values that go up and down, news in quick succession, rising severity, and snoozes that outlive an alert."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from alerts import notify, operator_decisions, rules
from alerts.catalog import RULES
from alerts.models import Alert, Notification, Rule
from alerts.notify import Trouble
from alerts.sending import reminders
from tests.alerts.conftest import Later
from tests.racing import race

pytestmark = pytest.mark.django_db

MINUTE, HOUR = 60.0, 3_600.0


def measure(value: float | None, **content: Any) -> None:
    notify.measure("dlq_not_empty", value, Trouble(**content), scope="default")


def kinds() -> list[str]:
    return list(Notification.objects.order_by("pk").values_list("kind", flat=True))


def news() -> list[str]:
    return list(Notification.objects.order_by("pk").exclude(news="").values_list("news", flat=True))


def snooze(hours: float) -> None:
    now: datetime = Alert.objects.values_list(Now(), flat=True)[0]
    alert = Alert.objects.open().get()
    assert operator_decisions.snooze(alert.pk, now + timedelta(hours=hours), "olga", "Tomorrow.")


# --- keep firing for ---


def test_value_that_goes_up_and_down_is_one_alert(later: Later) -> None:
    """Dead letters 1, 0, 1, 0 made a message per reading."""
    for _ in range(6):
        for value in (1, 0):
            measure(value)
            reminders.remind()
            later(5 * MINUTE)
    assert kinds() == ["firing"]
    assert Alert.objects.count() == 1
    for _ in range(3):
        measure(0)
        later(5 * MINUTE)
    assert kinds() == ["firing", "resolved"]


def test_alert_that_is_clear_says_so_and_keeps_its_value(later: Later) -> None:
    measure(5)
    measure(0)
    alert = Alert.objects.get()
    assert alert.open and alert.clear_since and alert.value == 0
    measure(1)
    assert Alert.objects.get().clear_since is None


def test_alert_resolves_without_another_reading(later: Later) -> None:
    measure(5)
    measure(0)
    later(14 * MINUTE)
    assert reminders.remind() == 0
    later(MINUTE)
    assert (reminders.remind(), reminders.remind()) == (1, 0)
    assert kinds() == ["firing", "resolved"]


def test_unknown_value_does_not_count_as_clear(later: Later) -> None:
    measure(5)
    measure(0)
    later(10 * MINUTE)
    measure(None)
    later(10 * MINUTE)
    reminders.remind()
    assert Alert.objects.open().filter(rule="dlq_not_empty").exists()
    measure(0)
    later(14 * MINUTE)
    measure(0)
    assert Alert.objects.open().filter(rule="dlq_not_empty").exists()


def test_alert_that_is_clear_sends_no_reminder(later: Later) -> None:
    measure(5)
    later(4 * HOUR - MINUTE)
    measure(0)
    later(2 * MINUTE)
    assert reminders.remind() == 0


def test_rule_says_how_long_alerts_keep_firing(later: Later) -> None:
    Rule.objects.filter(pk="dlq_not_empty").update(keep_firing_for=timedelta(0))
    measure(5)
    measure(0)
    assert kinds() == ["firing", "resolved"]


def test_disabled_rule_and_manual_resolution_do_not_wait() -> None:
    measure(5)
    assert operator_decisions.resolve(Alert.objects.get().pk, "olga", "Done.")
    measure(5)
    Rule.objects.filter(pk="dlq_not_empty").update(enabled=False)
    measure(5)
    assert kinds() == ["firing", "resolved"] * 2


@pytest.mark.django_db(transaction=True)
def test_concurrent_senders_resolve_once(later: Later) -> None:
    measure(5)
    measure(0)
    later(16 * MINUTE)
    race([reminders.remind] * 3 + [lambda: measure(0)] * 2)
    assert kinds() == ["firing", "resolved"]


# --- updates at most every 15 minutes ---


def test_news_comes_at_most_every_15_minutes_and_none_is_lost(later: Later) -> None:
    measure(5)
    for minute in range(1, 31):
        later(MINUTE)
        measure(5, news=f"Group {minute}.")
        reminders.remind()
    assert kinds() == ["firing", "news", "news"]
    told = " ".join(news())
    assert all(f"Group {minute}." in told for minute in range(1, 31))


def test_held_news_is_sent_without_another_report(later: Later) -> None:
    measure(5)
    measure(5, news="A new group.")
    assert kinds() == ["firing"]
    later(15 * MINUTE)
    assert (reminders.remind(), reminders.remind()) == (1, 0)
    assert news() == ["A new group."]


def test_held_news_is_part_of_the_resolution(later: Later) -> None:
    measure(5)
    measure(5, news="A new group.")
    notify.resolve("dlq_not_empty:default")
    assert kinds() == ["firing", "resolved"]
    assert news() == ["A new group."]


def test_held_news_breaks_through_an_acknowledgement(later: Later) -> None:
    measure(5)
    assert operator_decisions.acknowledge(Alert.objects.get().pk, "olga", "Looking.")
    measure(5, news="More of the same.")
    measure(5, news="A failure not seen before.", breaks_through=True)
    later(15 * MINUTE)
    reminders.remind()
    assert news() == ["A failure not seen before."]
    assert Alert.objects.get().state == "firing"


def test_held_news_of_an_acknowledged_alert_stays_silent(later: Later) -> None:
    measure(5)
    measure(5, news="More of the same.")
    assert operator_decisions.acknowledge(Alert.objects.get().pk, "olga", "Looking.")
    later(15 * MINUTE)
    assert reminders.remind() == 0


def test_tenfold_growth_does_not_wait(later: Later) -> None:
    measure(5)
    measure(5, news="A new group.")
    measure(50)
    assert kinds() == ["firing", "news"]
    assert news() == ["A new group."]
    assert Alert.objects.get().held_news == ""


def test_rule_says_how_often_updates_come(later: Later) -> None:
    Rule.objects.filter(pk="dlq_not_empty").update(news_interval=timedelta(0))
    measure(5)
    measure(5, news="One.")
    measure(5, news="Two.")
    assert news() == ["One.", "Two."]


# --- severity ---


@pytest.mark.parametrize("state", ["firing", "acknowledged", "snoozed"])
def test_warning_that_becomes_critical_is_told_at_once(later: Later, state: str) -> None:
    notify.fire("disk", Trouble(title="Disk", severity="warning"))
    if state == "acknowledged":
        operator_decisions.acknowledge(Alert.objects.get().pk, "olga", "Looking.")
    if state == "snoozed":
        snooze(8)
    notify.fire("disk", Trouble(title="Disk", severity="critical"))
    assert kinds() == ["firing", "news"]
    assert news() == ["The severity has risen from warning to critical."]
    assert Notification.objects.latest("pk").severity == "critical"
    assert Alert.objects.get().state == "firing"
    for severity in ("warning", "critical"):
        notify.fire("disk", Trouble(title="Disk", severity=severity))
    assert len(kinds()) == 2, "told once, although it went down and up again"


def test_rule_made_critical_by_an_operator_is_told(later: Later) -> None:
    notify.measure("stale_jobs_day", 6)
    Rule.objects.filter(pk="stale_jobs_day").update(severity="critical")
    notify.measure("stale_jobs_day", 6)
    assert news() == ["The severity has risen from warning to critical."]


# --- snoozes ---


def test_snooze_outlives_a_resolved_alert(later: Later) -> None:
    """A snooze of 8 hours was gone at the first 0."""
    Rule.objects.filter(pk="dlq_not_empty").update(keep_firing_for=timedelta(0))
    measure(1)
    snooze(8)
    for _ in range(6):
        later(HOUR)
        measure(0)
        measure(1)
        reminders.remind()
    assert kinds() == ["firing", "resolved"]
    alert = Alert.objects.open().get()
    assert (alert.state, alert.handled_by, alert.handled_reason) == ("snoozed", "olga", "Tomorrow.")
    later(3 * HOUR)
    assert (reminders.remind(), reminders.remind()) == (1, 0)
    assert kinds() == ["firing", "resolved", "firing"]
    assert news() == ["The snooze by olga has ended."]
    measure(0)
    assert kinds()[-1] == "resolved"


def test_snooze_that_ends_while_nothing_is_wrong_is_silent(later: Later) -> None:
    Rule.objects.filter(pk="dlq_not_empty").update(keep_firing_for=timedelta(0))
    measure(1)
    snooze(1)
    measure(0)
    later(2 * HOUR)
    assert reminders.remind() == 0
    measure(1)
    assert kinds() == ["firing", "resolved", "firing"]


def test_growth_breaks_through_the_snooze_of_an_earlier_alert(later: Later) -> None:
    Rule.objects.filter(pk="dlq_not_empty").update(keep_firing_for=timedelta(0))
    measure(2)
    snooze(8)
    measure(0)
    measure(3)
    measure(20)
    assert kinds() == ["firing", "resolved", "firing"]
    assert news() == ["The value has grown from 2 to 20."]
    assert Alert.objects.open().get().state == "firing"


def test_manual_resolution_ends_the_snooze() -> None:
    measure(1)
    snooze(8)
    assert operator_decisions.resolve(Alert.objects.get().pk, "olga", "Done.")
    measure(1)
    assert kinds() == ["firing", "resolved", "firing"]


def test_every_rule_has_a_setting_that_fits_its_check() -> None:
    for name in RULES:
        rule = rules.by_name(name)
        assert rule.news_interval == timedelta(minutes=15)
        expected = timedelta(0) if name == "mass_staleness" else timedelta(minutes=15)
        assert rule.keep_firing_for == expected == RULES[name].keep_firing_for
