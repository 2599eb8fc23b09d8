"""Workers with clocks of their own: living runs are kept, and dead ones are recovered in time."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.db.models.functions import Now

from jobs.models import Job, RecoveryControl, Status, Sweep, WorkerHeartbeat, WorkerObservation
from jobs.recovery import control, sweeps
from jobs.runs import observations
from jobs.runs.timeline import Actor
from opsconsole_worker.environment import QueueConfig
from tests import factories
from tests.factories import SECOND

pytestmark = pytest.mark.django_db

# All in seconds. Looks come with each sweep and each minute.
THRESHOLD, INTERVAL, LOOK, BEAT, TICK = 600, 120, 60, 15, 5
DAY, NEVER, END = 86_400, 10_000, 2_300
CLOCKS = {
    "right": 0,
    "two days ahead": 2 * DAY,
    "3 minutes ahead": 180,
    "11 minutes slow": -660,
    "a day slow": -DAY,
}
JUMPS_BACK_AT, JUMP = 400, 3_600


@dataclass
class Worker:
    """A worker whose clock is ``ahead``; it sends heartbeats until it dies, and some clocks jump back by an hour."""

    name: str
    run: Job
    ahead: int
    phase: int
    dies: int
    jumps_back: bool
    recovered: int = NEVER

    def live(self, now: int) -> None:
        if now <= self.dies and now % BEAT == self.phase:
            jump = JUMP if self.jumps_back and now > JUMPS_BACK_AT else 0
            ago = (jump - self.ahead) * SECOND
            if not WorkerHeartbeat.objects.filter(pk=self.name).update(last_heartbeat=Now() - ago):
                factories.beat(self.name, self.run.pk, 1, ago=ago)

    @property
    def took(self) -> int:
        """Return the time from death to recovery."""
        return self.recovered - self.dies


@pytest.fixture(autouse=True)
def _armed(settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "https://sqs.fake/jobs", None)}
    settings.OPSCONSOLE_MASS_STALE_RUNS = 1_000
    control.arm(Actor.operator("ada", None), "test", None)


def time_passes(seconds: int) -> None:
    """Move everything that was written into the past."""
    time = seconds * SECOND
    Job.objects.update(started_at=F("started_at") - time, updated_at=F("updated_at") - time)
    WorkerHeartbeat.objects.update(last_heartbeat=F("last_heartbeat") - time)
    WorkerObservation.objects.update(beat_at=F("beat_at") - time, seen_at=F("seen_at") - time)
    RecoveryControl.objects.update(beats_looked_at=F("beats_looked_at") - time)
    Sweep.objects.update(started_at=F("started_at") - time, finished_at=F("finished_at") - time)


def hired() -> list[Worker]:
    """Return six workers per clock. The first lives on, the others die at some time; two clocks jump back."""
    chance = random.Random(7)
    return [
        Worker(
            name=f"{clock} {number}",
            run=factories.run(worker=f"{clock} {number}"),
            ahead=ahead,
            phase=chance.randrange(0, BEAT, TICK),
            dies=chance.randint(700, 1_500) if number else NEVER,
            jumps_back=number in {0, 3},
        )
        for clock, ahead in CLOCKS.items()
        for number in range(6)
    ]


def test_dead_runs_are_recovered_in_time_and_living_ones_are_kept() -> None:
    workers = hired()
    for now in range(0, END, TICK):
        for worker in workers:
            worker.live(now)
        if now % INTERVAL == 0:
            sweeps.sweep("schedule", every=timedelta(seconds=INTERVAL))
            taken = set(Job.objects.filter(status=Status.PENDING).values_list("pk", flat=True))
            for worker in workers:
                if worker.run.pk in taken:
                    worker.recovered = min(worker.recovered, now)
        elif now % LOOK == 0:
            observations.look_at_beats()
        time_passes(TICK)
    assert [worker.name for worker in workers if worker.recovered < worker.dies] == [], "these were alive"
    assert [worker.name for worker in workers if worker.dies == NEVER != worker.recovered] == []
    took = {worker.name: worker.took for worker in workers if worker.dies != NEVER}
    assert max(took.values()) <= THRESHOLD + INTERVAL + 2, took
