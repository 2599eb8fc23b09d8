"""A table of cases for the outlook on a run, verified by real sweeps: they do what the outlook says (I12)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import product
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from jobs.models import Job, RecoveryControl, Status, Sweep, WorkerHeartbeat
from jobs.recovery import outlook, surroundings, sweeps
from jobs.recovery.decision import SweepAction
from jobs.recovery.outlook import Outlook, When
from jobs.recovery.surroundings import Surroundings
from opsconsole.kit import pauses
from opsconsole.kit.models import Pause
from opsconsole_worker.environment import QueueConfig
from tests.factories import SECOND

pytestmark = pytest.mark.django_db

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
MODE = RecoveryControl.Mode
MOST = 3
# PAUSES: the time until each ends. HOLDS: the time until the recorded end, and whether there is mass staleness.
PAUSES = {"none": None, "short": 5 * MINUTE, "long": 20 * MINUTE, "endless": timedelta.max}
HOLDS = {
    "none": (None, False),
    "begins": (None, True),
    "in force": (10 * MINUTE, True),
    "over": (-MINUTE, True),
    "needless": (10 * MINUTE, False),
}
# All of these are ages: the time from the event until now.
BEGAN_BEFORE_CUTOFF, CUTOFF, BEGAN_AFTER_CUTOFF = 5 * HOUR, 3 * HOUR, 2 * HOUR
SEEN_BEFORE, HOLD_BEGAN, FORGIVEN, SEEN_AFTER = 60 * MINUTE, 45 * MINUTE, 40 * MINUTE, 30 * MINUTE
PROMISE = re.compile(r"The next sweep (requeues|quarantines) it")


@pytest.fixture(autouse=True)
def _settings(settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:9/queue", None)}
    settings.OPSCONSOLE_MASS_STALE_RUNS = 1_000
    settings.OPSCONSOLE_MAX_RECOVERIES = MOST


@dataclass(frozen=True)
class State:
    """The fields of a job that a sweep can change."""

    status: str
    run_epoch: int
    recovery_count: int


def states() -> dict[UUID, State]:
    rows = Job.objects.values_list("pk", "status", "run_epoch", "recovery_count")
    return {pk: State(status, epoch, recoveries) for pk, status, epoch, recoveries in rows}


def done(before: State, after: State) -> SweepAction:
    if after == before:
        return SweepAction.NOTHING
    return SweepAction.REQUEUE if after.status == Status.PENDING else SweepAction.QUARANTINE


def outlooks(around: Surroundings) -> dict[UUID, Outlook]:
    return {job.pk: outlook.of_run(job, around) for job in Job.objects.with_evidence()}


def every_kind_of_run(now: datetime) -> None:
    """Create fresh, stale, hung and ended runs in both queues, from before and after the cutoff."""
    jobs, beats = [], []
    lives = [("stale", SEEN_BEFORE), ("stale", SEEN_AFTER), ("hung", SECOND), ("fresh", SECOND)]
    runs = product(lives, ["default", "gone"], [0, MOST], [BEGAN_BEFORE_CUTOFF, BEGAN_AFTER_CUTOFF])
    for number, ((life, seen), queue, recoveries, began) in enumerate(runs):
        made = Job(
            id=uuid4(),
            customer_id="TEST-001",
            package_size=1,
            status=Status.IN_PROGRESS,
            queue=queue,
            recovery_count=recoveries,
            run_epoch=1,
            claimed_epoch=1,
            worker_id=f"worker-{number}",
            started_at=now - began,
            updated_at=now - began,
            deadline_at=now + HOUR if life == "fresh" else now - HOUR,
        )
        beats.append(
            WorkerHeartbeat(
                worker_id=f"worker-{number}",
                current_job_id=made.pk,
                current_run_epoch=1,
                last_heartbeat=now - seen,
            )
        )
        jobs.append(made)
    jobs += [
        Job(customer_id="TEST-001", package_size=1, status=status, updated_at=now - 5 * HOUR)
        for status in (Status.PENDING, Status.COMPLETED, Status.CANCELLED, "archived")
    ]
    Job.objects.bulk_create(jobs)
    WorkerHeartbeat.objects.bulk_create(beats)


def worlds(pause: str) -> list[tuple[bool, bool, bool]]:
    """Return tuples of flags: a cutoff is set, mass staleness is forgiven, no sweep ran for long."""
    both = [(False, False, False), (True, True, False), (True, True, True)]
    return both if PAUSES[pause] else [*both, (True, False, False), (False, True, False)]


@pytest.mark.parametrize(
    ("mode", "pause", "hold"),
    [
        *product([MODE.ARMED], PAUSES, HOLDS),
        (MODE.OBSERVE, "none", "none"),
        (MODE.OBSERVE, "short", "in force"),
    ],
)
def test_sweep_does_what_the_outlook_says(settings: Any, mode: str, pause: str, hold: str) -> None:
    for cutoff, forgiven, away in worlds(pause):
        with transaction.atomic():
            now = timezone.now()
            every_kind_of_run(now)
            _set_up(settings, now, mode, pause, hold)
            RecoveryControl.objects.update(
                cutoff=now - CUTOFF if cutoff else None,
                forgiven_before=now - FORGIVEN if forgiven else None,
            )
            ended = now - (HOUR if away else MINUTE)
            Sweep.objects.create(trigger="schedule", mode=mode, started_at=ended, finished_at=ended)
            _sweep_and_compare()
            _let_time_pass_and_compare()
            transaction.set_rollback(True)


def _set_up(settings: Any, now: datetime, mode: str, pause: str, hold: str) -> None:
    for_so_long, mass = HOLDS[hold]
    settings.OPSCONSOLE_MASS_STALE_RUNS = 2 if mass else 1_000
    settings.OPSCONSOLE_MASS_STALE_SHARE = 0.05
    RecoveryControl.objects.update(
        mode=mode,
        hold_started_at=None if for_so_long is None else now - HOLD_BEGAN,
        hold_until=None if for_so_long is None else now + for_so_long,
    )
    lasting = PAUSES[pause]
    if lasting:
        pauses.begin(
            pauses.RECOVERY, by="ada", reason="deploy", lasting=None if lasting == timedelta.max else lasting
        )


def _sweep_and_compare() -> None:
    around = surroundings.read()
    said, before = outlooks(around), states()
    wanted = {pk for pk, each in said.items() if each.decision.action != SweepAction.NOTHING}
    asked = surroundings.recoverable(Job.objects.stale(), around.policy)
    assert set(asked.values_list("pk", flat=True)) == wanted, "the query says what decide() says"
    prospect = outlook.of_sweeps(around)

    swept = sweeps.sweep("schedule")

    after = states()
    acted = any(done(before[pk], after[pk]) != SweepAction.NOTHING for pk in after)
    assert acted is (prospect.when == When.NEXT_SWEEP), prospect
    assert acted is (prospect.stop is None)
    if not around.sweeps_were_away:
        assert (swept.mode == Sweep.Mode.ARMED) is (around.standstill is None)
    for pk, each in said.items():
        expected = each.action if each.when == When.NEXT_SWEEP else SweepAction.NOTHING
        assert done(before[pk], after[pk]) == expected, each
        assert bool(PROMISE.search(each.sentence)) is (expected != SweepAction.NOTHING), each
        if expected == SweepAction.REQUEUE:
            assert after[pk].recovery_count - before[pk].recovery_count == each.decision.counted, each


def _let_time_pass_and_compare() -> None:
    """Check that what the outlook announces for the end of a pause or hold happens then."""
    said, before = outlooks(surroundings.read()), states()
    if not any(each.when in {When.AFTER_PAUSE, When.AFTER_HOLD} for each in said.values()):
        return
    _end_the_pause()
    sweeps.sweep("schedule")
    _compare_later(said, before, {When.AFTER_PAUSE})
    RecoveryControl.objects.filter(hold_until__isnull=False).update(hold_until=Now() - SECOND)
    sweeps.sweep("schedule")
    _compare_later(said, before, {When.AFTER_PAUSE, When.AFTER_HOLD})


def _end_the_pause() -> None:
    for pause in Pause.objects.active():
        if pause.until is None:
            pauses.end(pause.name, by="ada", reason="done")
        else:
            passes = pause.until - timezone.now() + SECOND
            Pause.objects.update(until=F("until") - passes)
            RecoveryControl.objects.update(hold_until=F("hold_until") - passes)


def _compare_later(said: dict[UUID, Outlook], before: dict[UUID, State], due: set[When]) -> None:
    after = states()
    for pk, each in said.items():
        expected = each.action if each.when in due else SweepAction.NOTHING
        assert done(before[pk], after[pk]) == expected, each
