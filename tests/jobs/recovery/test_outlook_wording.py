"""Tests of the outlook's wording: what will happen to a run, and what is taken into account (I12)."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from django.utils import timezone
from django_q.models import Schedule

from jobs.models import Job, RecoveryControl, Sweep
from jobs.recovery import outlook, surroundings, sweeps
from jobs.recovery.decision import SweepAction, Why
from jobs.recovery.outlook import Outlook, When
from jobs.recovery.surroundings import Stop
from opsconsole.cluster import schedules
from opsconsole.kit import pauses
from opsconsole.kit.display import clock_time
from opsconsole_worker.environment import QueueConfig
from tests.factories import SECOND, job, run

pytestmark = pytest.mark.django_db

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
MODE = RecoveryControl.Mode


@pytest.fixture(autouse=True)
def _settings(settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:9/queue", None)}


def of(made: Job) -> Outlook:
    return outlook.of_run(Job.objects.with_evidence().get(pk=made.pk), surroundings.read())


@pytest.fixture
def armed() -> None:
    RecoveryControl.objects.update(mode=MODE.ARMED)
    Sweep.objects.create(trigger="schedule", mode="armed", finished_at=Now())


def stale_run(**fields: Any) -> Job:
    return run(age=2 * HOUR, silent=HOUR, **fields)


def test_wording_of_next_sweep(armed: None) -> None:
    assert of(stale_run()).sentence == "The next sweep requeues it. Sweeps run every 2 min."
    assert of(stale_run(worker="w2", recovery_count=3)).sentence == (
        "The next sweep quarantines it, because it has had 3 recoveries within 72 hours. Sweeps run every 2 min."
    )
    RecoveryControl.objects.update(forgiven_before=Now() - MINUTE)
    assert of(stale_run(worker="w3", recovery_count=3)).sentence == (
        "The next sweep requeues it although it has had 3 recoveries within 72 hours, "
        "because it went silent together with others. Sweeps run every 2 min."
    )
    Sweep.objects.update(finished_at=Now() - 270 * SECOND)
    late = r"The next sweep requeues it\. Sweeps should run every 2 min; the last one ended 4 min [345]\d s ago\."
    assert re.fullmatch(late, of(stale_run(worker="w4")).sentence)
    Sweep.objects.all().delete()
    assert of(stale_run(worker="w5")).sentence == "The next sweep requeues it. No sweep has ended yet."


def test_wording_of_why_run_is_left_alone(armed: None, settings: Any) -> None:
    cases = {
        job(): (Why.NOT_RUNNING, "It is not running, so there is nothing to recover."),
        run(age=MINUTE, worker="w1"): (Why.ALIVE, "It is not stale, so recovery leaves it alone."),
        run(age=2 * HOUR, silent=SECOND, worker="w2"): (
            Why.HUNG,
            "Its worker sends heartbeats, so recovery leaves it alone until somebody cancels or requeues it.",
        ),
        stale_run(worker="w3", queue="gone"): (
            Why.UNKNOWN_QUEUE,
            "Its queue 'gone' is not configured, so its message could not be sent.",
        ),
    }
    for made, (reason, sentence) in cases.items():
        told = of(made)
        assert (told.action, told.reason, told.sentence) == (SweepAction.NOTHING, reason, sentence)
    settings.OPSCONSOLE_RECOVERY_BY_HAND = ("default",)
    told = of(stale_run(worker="w5"))
    assert (told.action, told.when, told.reason) == (SweepAction.NOTHING, When.NOT_BY_ITSELF, Why.BY_HAND)
    assert told.sentence == (
        "Sweeps leave stale runs of the queue 'default' to operators: it stays as it is until somebody who saw what it has done "
        "already requeues or cancels it."
    )
    RecoveryControl.objects.update(cutoff=Now())
    told = of(stale_run(worker="w4"))
    assert told.reason == Why.BEFORE_CUTOFF
    assert told.sentence.startswith("It began before the cutoff 2")
    assert told.sentence.endswith(" UTC, so sweeps leave it until somebody requeues or cancels it.")


def test_wording_of_what_stops_sweeps(armed: None, settings: Any) -> None:
    made = stale_run()
    pauses.begin(pauses.RECOVERY, by="ada", reason="deploy", lasting=None)
    assert of(made).sentence == (
        "Recovery is paused until somebody resumes it. A sweep after that requeues it, unless its worker sends a heartbeat before."
    )
    pause = pauses.begin(pauses.RECOVERY, by="ada", reason="deploy", lasting=HOUR, shorten=True)
    told = of(made)
    assert told.at is not None
    assert (told.reason, told.when, told.at) == (Stop.PAUSED, When.AFTER_PAUSE, pause.until)
    assert told.sentence.startswith(
        f"Recovery is paused until {clock_time(told.at)}. A sweep after that requeues it"
    )

    settings.OPSCONSOLE_MASS_STALE_RUNS = 1
    assert (
        "After that, the next sweep holds recovery for 10 min, because 1 run went silent" in of(made).sentence
    )
    pauses.end(pauses.RECOVERY, by="ada", reason="done")
    assert (of(made).when, of(made).at) == (When.AFTER_HOLD, None)
    assert of(made).sentence.startswith(
        "The next sweep holds recovery for 10 min, because 1 run went silent at once."
    )
    sweeps.sweep("schedule")
    told = of(made)
    assert told.at is not None
    assert told.at == RecoveryControl.load().hold_until
    assert told.sentence.startswith(
        f"Recovery is held until {clock_time(told.at)}, or until somebody releases the hold"
    )
    assert outlook.of_sweeps(surroundings.read()).sentence.endswith("Sweeps recover nothing before that.")

    settings.OPSCONSOLE_MASS_STALE_RUNS = 2
    assert "ends the hold, because few runs are silent now" in outlook.of_sweeps(surroundings.read()).sentence
    assert of(made).action == SweepAction.REQUEUE

    RecoveryControl.objects.update(mode=MODE.OBSERVE)
    assert of(made).sentence == "Recovery only observes: sweeps change nothing until somebody arms it."


def test_without_sweeps_nothing_is_promised(armed: None) -> None:
    """Promise nothing, because the first sweep after a long gap excuses all silence."""
    made = stale_run()
    Sweep.objects.update(finished_at=Now() - 12 * HOUR)
    told = of(made)
    assert (told.action, told.when, told.reason) == (SweepAction.NOTHING, When.NOT_BY_ITSELF, Stop.NO_SWEEPS)
    assert told.sentence.startswith("No sweep has ended for 12 h, so nothing is recovered.")
    assert sweeps.sweep("schedule").requeued == 0


@pytest.mark.parametrize(
    ("trigger", "expected"),
    [("schedule", Stop.SCHEDULE_PAUSED), (None, Stop.SCHEDULE_PAUSED), ("command", None)],
)
def test_switched_off_schedule_is_named(armed: None, trigger: str | None, expected: Stop | None) -> None:
    """Ignore the schedule where a loop or cron runs sweeps by command."""
    made = stale_run()
    schedules.sync()
    assert of(made).when == When.NEXT_SWEEP
    assert Schedule.objects.filter(func=surroundings.SWEEP_TASK).update(repeats=schedules.PAUSED) == 1
    if trigger is None:
        Sweep.objects.all().delete()
    Sweep.objects.update(trigger=trigger or "")
    told = of(made)
    assert (told.reason == Stop.SCHEDULE_PAUSED) is (expected is not None)
    assert (told.when == When.NEXT_SWEEP) is (expected is None)
    if expected:
        assert (
            told.sentence
            == "The schedule of sweeps is paused: nothing is recovered automatically until somebody resumes it."
        )


def test_next_sweep_is_not_promised_beyond_its_limit(armed: None, settings: Any) -> None:
    settings.OPSCONSOLE_SWEEP_LIMIT = 2
    made = [stale_run(worker=f"w{number}") for number in range(2)]
    stale_run(worker="elsewhere", queue="gone")
    assert of(made[0]).when == When.NEXT_SWEEP
    stale_run(worker="w3")
    told = of(made[0])
    assert told.when == When.NEXT_SWEEPS
    assert told.sentence == "One of the next sweeps requeues it. Each recovers at most 2 runs."
    assert (
        outlook.of_sweeps(surroundings.read()).sentence
        == "Sweeps recover what may be recovered, at most 2 runs each."
    )


def test_arming_with_mass_staleness_announces_hold(settings: Any) -> None:
    settings.OPSCONSOLE_MASS_STALE_RUNS = 2
    RecoveryControl.objects.update(mode=MODE.OBSERVE)
    for number in range(2):
        stale_run(worker=f"w{number}")
    around = surroundings.read()
    assert (around.stop, around.mass) == (Stop.OBSERVING, 0)
    assert surroundings.if_armed(around, None).hold_begins
    assert not surroundings.if_armed(around, timezone.now()).hold_begins


def test_conditions_are_read_in_one_query(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        surroundings.glance()
