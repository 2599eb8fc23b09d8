"""Measured values: what changes nothing is asked about and kept together, and what fires or ends an alert is guarded (I7, I8)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from alerts import notify, rules
from alerts.models import Alert, Gauge, Rule
from tests.racing import race

# It also stores every rule, which a test that empties the tables takes along.
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("rules_without_delay")]

QUIET = ("stale_jobs_day", "outbox_stuck", "quarantined_jobs")


def measure_all(value: float | None, names: tuple[str, ...] = QUIET) -> list[str]:
    """Measure this value for each rule; return the statements."""
    with CaptureQueriesContext(connection) as captured:
        measurements = notify.Measurements(names)
        for name in names:
            measurements.add(name, value, why_unknown="no answer")
        measurements.keep()
    return [each["sql"] for each in captured.captured_queries]


def switch_off(name: str) -> None:
    Rule.objects.filter(pk=name).update(enabled=False)


def test_values_that_change_nothing_take_one_question_and_one_write() -> None:
    measure_all(0)
    asked, written = measure_all(0)
    assert asked.startswith("SELECT") and "FOR NO KEY UPDATE" not in asked
    assert written.startswith('INSERT INTO "alert_gauges"')
    assert not Alert.objects.exists()


def test_time_of_a_value_that_changes_nothing_is_kept_and_its_being_unknown_ends() -> None:
    measure_all(0)
    Gauge.objects.update(measured_at=Now() - timedelta(hours=1))
    measure_all(None)
    assert Gauge.objects.exclude(unknown_since=None).count() == len(QUIET)
    measure_all(3, ("outbox_stuck",))
    measure_all(0)
    for gauge in Gauge.objects.filter(rule__in=QUIET).annotate(age=Now() - F("measured_at")):
        assert (gauge.value, gauge.unknown_since, gauge.unknown_why) == (0, None, ""), gauge.rule
        assert gauge.age < timedelta(minutes=30), gauge.rule


def test_each_rule_is_judged_by_itself() -> None:
    measurements = notify.Measurements(QUIET)
    measurements.add("stale_jobs_day", 0)
    measurements.add("outbox_stuck", 7)
    measurements.add("quarantined_jobs", None, why_unknown="no answer")
    measurements.keep()
    assert [alert.fingerprint for alert in Alert.objects.open()] == ["outbox_stuck"]
    values = dict(Gauge.objects.filter(rule__in=QUIET).values_list("rule", "value"))
    assert values == {"stale_jobs_day": 0, "outbox_stuck": 7, "quarantined_jobs": None}

    measure_all(0)

    assert not Alert.objects.open().exists()
    assert Alert.objects.get().value == 0


def test_alert_that_opens_during_the_measurements_is_ended_by_the_next_ones() -> None:
    early = notify.Measurements(QUIET)
    notify.measure("outbox_stuck", 7)
    early.add("outbox_stuck", 0)
    early.keep()
    assert Alert.objects.open().get().value == 7
    measure_all(0)
    assert not Alert.objects.open().exists()


def test_rule_that_was_switched_off_during_the_measurements_fires_nothing() -> None:
    measurements = notify.Measurements(QUIET)
    switch_off("outbox_stuck")
    measurements.add("outbox_stuck", 7)
    measurements.keep()
    assert not Alert.objects.exists()
    assert Gauge.objects.get(rule="outbox_stuck").value == 7


def test_alert_of_a_rule_that_is_switched_off_ends() -> None:
    measure_all(7)
    assert Alert.objects.open().count() == len(QUIET)
    switch_off("outbox_stuck")
    measure_all(7)
    assert Alert.objects.get(resolved_at__isnull=False).fingerprint == "outbox_stuck"


def test_alert_about_an_unknown_value_ends_with_a_value() -> None:
    measure_all(None, ("outbox_stuck",))
    Gauge.objects.filter(rule="outbox_stuck").update(unknown_since=Now() - timedelta(days=1))
    measure_all(None, ("outbox_stuck",))
    assert [alert.fingerprint for alert in Alert.objects.open()] == ["gauge_unreadable:outbox_stuck"]
    measure_all(0)
    assert not Alert.objects.open().exists()


def test_value_between_hysteresis_and_threshold_opens_nothing_and_keeps_what_is_open() -> None:
    Rule.objects.filter(pk="stale_jobs_day").update(threshold=5, hysteresis=2)
    measure_all(4, ("stale_jobs_day",))
    assert not Alert.objects.exists()
    measure_all(6, ("stale_jobs_day",))
    measure_all(4, ("stale_jobs_day",))
    assert Alert.objects.open().get().value == 4


def test_unknown_rule_is_refused_before_anything_is_written() -> None:
    with pytest.raises(rules.UnknownRule):
        notify.Measurements(["dlq"])
    with pytest.raises(rules.UnknownRule):
        notify.measure("dlq", None)
    assert not Gauge.objects.exists()


def test_clearing_asks_once_for_all_problems_that_are_not_there() -> None:
    with CaptureQueriesContext(connection) as captured:
        assert notify.clear_all(["queue_unreadable:a", "queue_unreadable:b"]) == 0
        assert not notify.clear("queue_unreadable:a")
        assert not notify.resolve("queue_unreadable:a")
    assert len(captured.captured_queries) == 3


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("value", [0, 7])
def test_two_processes_that_measure_at_once_agree(value: float) -> None:
    """Two that see the same leave one alert or none; whatever two that disagree leave, the next one puts right."""

    def watcher(seen: float) -> Callable[[], object]:
        return lambda: measure_all(seen)

    for _ in range(5):
        race([watcher(value)] * 4)
        assert Alert.objects.open().count() == (len(QUIET) if value else 0)
        race([watcher(0), watcher(7), watcher(0), watcher(7)])
        measure_all(value)
        open_alerts = Alert.objects.open().values_list("fingerprint", flat=True)
        assert sorted(open_alerts) == (sorted(QUIET) if value else [])
        assert set(Gauge.objects.values_list("value", flat=True)) == {value}
