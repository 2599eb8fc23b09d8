"""Tests of sweeps whose connection breaks while a page is committed: what they took is counted as taken (I14)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError

from alerts.models import Alert
from jobs.models import Job, JobEvent, Outbox, Status, Sweep
from jobs.recovery import control, sweeps
from jobs.runs.timeline import Actor
from opsconsole_worker.environment import QueueConfig
from tests.chaos import cuts
from tests.factories import run

pytestmark = pytest.mark.django_db(transaction=True)

THRESHOLD = timedelta(minutes=10)
TAKES = b"UPDATE jobs AS job"


@pytest.fixture(autouse=True)
def armed(settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:9/q", "http://127.0.0.1:9/d")}
    settings.OPSCONSOLE_MASS_STALE_RUNS = 1_000
    control.arm(Actor.operator("ada", None), "tests", cutoff=None)


def dead_runs(count: int) -> None:
    for number in range(count):
        run(age=3 * THRESHOLD, silent=2 * THRESHOLD, worker=f"dead-{number}")


def swept_through(*marks: bytes, answer: bool) -> Sweep:
    with cuts.to_database() as proxy, proxy.as_default():
        proxy.cut(marks, answer=answer)
        swept = sweeps.sweep("test")
        assert proxy.cuts == 1
    return swept


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("answer", [True, False], ids=["the commit's answer is lost", "the commit is lost"])
def test_runs_of_a_lost_commit_are_counted_once(count: int, answer: bool) -> None:
    dead_runs(count)

    swept = swept_through(TAKES, b"COMMIT\0", answer=answer)

    assert (swept.requeued, swept.skipped, swept.errors, swept.details["lines"]) == (count, 0, 0, [])
    assert set(Job.objects.values_list("status", "run_epoch")) == {(Status.PENDING, 2)}
    assert JobEvent.objects.filter(kind=JobEvent.Kind.RECOVERED).count() == count
    assert Outbox.objects.count() == count


@pytest.mark.parametrize("count", [1, 3])
def test_runs_are_not_refused_by_a_connection_that_broke(count: int) -> None:
    """Their transaction never ended. The database has refused nothing, so no alert may say so."""
    dead_runs(count)

    swept = swept_through(TAKES, answer=False)

    assert (swept.requeued, swept.skipped, swept.errors) == (count, 0, 0)
    assert not Alert.objects.exists()


def test_sweep_ends_where_the_database_stays_away() -> None:
    dead_runs(2)

    with cuts.to_database() as proxy, proxy.as_default():
        proxy.cut((TAKES,), answer=False, away=True)
        with pytest.raises(OperationalError):
            sweeps.sweep("test")

    assert not Alert.objects.exists()
    assert sweeps.sweep("test").requeued == 2
