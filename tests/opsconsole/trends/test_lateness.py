"""Tests that figures do not age unnoticed: counting that stopped is a late monitor, on every page and as an alert."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models import F
from django.db.models.functions import Now
from django.test import Client

from alerts import notify
from alerts.models import Alert, Monitor
from alerts.models.alert import Severity
from alerts.watch import monitor_alerts
from jobs import tasks as job_tasks
from jobs.models import RunRollupState
from opsconsole import overview
from opsconsole.trends import report, tasks
from tests import people
from tests.opsconsole.trends import timelines

pytestmark = pytest.mark.django_db
TOO_LONG = timedelta(minutes=6)


def succeeded(name: str) -> bool:
    return Monitor.objects.filter(pk=name).exists()


def test_counting_succeeds_once_nothing_older_is_left() -> None:
    timelines.ended(timelines.now() - TOO_LONG)
    tasks.count()
    # What happened is not sealed, and only what is sealed is counted.
    assert not report.progress().is_current and not succeeded(monitor_alerts.TRENDS)

    timelines.count()
    tasks.count()

    assert report.progress().is_current and succeeded(monitor_alerts.TRENDS)


def test_counting_that_falls_behind_is_late(client: Client) -> None:
    timelines.count()
    tasks.count()
    RunRollupState.objects.update(counted_until=F("counted_until") - TOO_LONG)
    assert report.progress().is_behind
    notify.monitor_ok(monitor_alerts.SWEEP, timedelta(minutes=2))
    Monitor.objects.filter(pk=monitor_alerts.TRENDS).update(last_ok_at=Now() - TOO_LONG)

    assert monitor_alerts.judge() == [monitor_alerts.TRENDS]

    alert = Alert.objects.open().get(rule=monitor_alerts.RULE)
    # Nobody is woken because a chart is old.
    assert alert.severity == Severity.WARNING
    assert "the figures that it counts are old" in alert.summary
    overview.memory.clear()
    client.force_login(people.operator())
    for address in ("/admin/", "/admin/jobs/job/", "/admin/jobs/runrollup/"):
        assert "counting for the trends" in client.get(address).content.decode(), address


def test_hourly_counts_are_watched_too() -> None:
    job_tasks.count_hours()

    assert succeeded(monitor_alerts.CHARTS)


def test_late_sweep_still_wakes_somebody() -> None:
    Monitor.objects.create(
        name=monitor_alerts.SWEEP, interval=timedelta(minutes=2), last_ok_at=Now() - 2 * TOO_LONG
    )
    monitor_alerts.judge()

    assert Alert.objects.open().get(rule=monitor_alerts.RULE).severity == Severity.CRITICAL
