"""One table of cases for late sweeps, checks and other monitors, checked in every place (I12)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from alerts.models import Alert, DeadManPing, Monitor
from alerts.watch import deadman, monitor_alerts
from jobs.admin.dead_letters import coverage
from jobs.models import Job, QueueState, RecoveryControl, Sweep
from jobs.recovery import control, surroundings, sweeps
from jobs.runs.timeline import Actor
from opsconsole import overview
from opsconsole_worker.environment import QueueConfig
from tests import people
from tests.factories import SECOND, dead_letter_queue, run

pytestmark = pytest.mark.django_db

INTERVAL = timedelta(seconds=60)
# Leeway, because time passes during a test.
ROOM = 10 * SECOND
CASES = [
    (INTERVAL, False),
    (2 * INTERVAL - ROOM, False),
    (2 * INTERVAL + SECOND, True),
    (3 * INTERVAL - ROOM, True),
]
cases = pytest.mark.parametrize(("ago", "late"), CASES)


@pytest.fixture(autouse=True)
def every_minute(settings: Any) -> None:
    settings.OPSCONSOLE_SWEEP_INTERVAL_SECONDS = INTERVAL.total_seconds()
    settings.OPSCONSOLE_DLQ_CHECK_INTERVAL_SECONDS = INTERVAL.total_seconds()
    settings.OPSCONSOLE_DEADMAN_SWEEP_URL = "http://127.0.0.1:9/ping"
    settings.QUEUES = {"default": QueueConfig("default", "https://sqs.fake/jobs", "https://sqs.fake/dead")}
    overview.memory.clear()


def swept(ago: timedelta, *, every: timedelta = INTERVAL) -> None:
    """Record a sweep that ended this long ago, and its readings of the queues."""
    Sweep.objects.create(trigger="test", mode="armed", started_at=Now() - ago, finished_at=Now() - ago)
    Monitor.objects.create(name=monitor_alerts.SWEEP, interval=every, last_ok_at=Now() - ago)
    QueueState.objects.create(name="default", read_at=Now() - ago)


def ready() -> dict[str, str]:
    words: dict[str, str] = Client().get("/readyz").json()["checks"]
    return words


@cases
def test_every_place_agrees_about_a_late_sweep(client: Client, ago: timedelta, late: bool) -> None:
    swept(ago)
    client.force_login(people.operator())

    page = client.get(reverse("admin:alerts_monitor_changelist")).content.decode()
    [watch] = overview.history().watches
    said = {
        "the monitor": Monitor.objects.late().exists(),
        "its name": monitor_alerts.is_late(monitor_alerts.SWEEP),
        "its page": ">Late<" in page,
        "the overview": overview.read().sweep_is_late,
        "the overview's list": watch.late,
        "the probe of sweeps": ready()["sweep"] == "failing",
        "the probe of queues": ready()["queue"] == "failing",
        "the alert": monitor_alerts.judge() == [monitor_alerts.SWEEP] and Alert.objects.open().exists(),
        "the dead-man's switch": deadman.ping_due() == ""
        and not DeadManPing.objects.exclude(reported=None).exists(),
    }
    assert said == dict.fromkeys(said, late)


@cases
def test_every_place_agrees_about_a_late_dead_letter_check(ago: timedelta, late: bool) -> None:
    dlq = dead_letter_queue(url="https://sqs.fake/dead", read_at=Now() - ago, checked_at=Now() - ago)
    Monitor.objects.create(
        name=f"{monitor_alerts.DLQ_CHECK} ({dlq})", interval=INTERVAL, last_ok_at=Now() - ago
    )

    [line] = coverage.lines()
    said = {
        "the monitor": Monitor.objects.late().exists(),
        "the dead letters' page": line.stale,
        "the overview": overview.read().dead_letters is None,
    }
    assert said == dict.fromkeys(said, late)


def test_missing_sweep_is_late() -> None:
    assert overview.read().sweep_is_late
    assert ready()["sweep"] == "failing"


def test_loop_records_its_interval() -> None:
    """Judge lateness by the loop's own interval, so that a slow loop is not always late."""
    swept(5 * INTERVAL, every=5 * INTERVAL)

    assert not overview.read().sweep_is_late
    assert ready() == {"database": "ok", "queue": "ok", "sweep": "ok"}
    assert not surroundings.glance().sweeps_were_away


def test_loop_slower_than_setting_still_recovers() -> None:
    """Recover even if the interval is longer than the setting; each sweep used to assume an outage."""
    control.arm(Actor.operator("ada", None), "tests", cutoff=None)
    RecoveryControl.objects.update(outage_ended_at=None)
    slow = timedelta(minutes=8)
    swept(slow, every=slow)
    dead = run(age=timedelta(hours=1), silent=timedelta(minutes=30))

    assert sweeps.sweep("test", every=slow).requeued == 1
    assert Job.objects.get(pk=dead.pk).run_epoch == 2


def test_command_says_when_the_next_sweep_is_expected() -> None:
    call_command("recover_stale_jobs")
    assert (
        surroundings.glance().sweep_interval
        == monitor_alerts.named(monitor_alerts.SWEEP).get().interval
        == INTERVAL
    )
