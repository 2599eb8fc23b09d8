"""Tests of the diagnosis: the text that explains why a run is stale."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models.functions import Now

from jobs.models import Job, Status
from jobs.runs.diagnosis import Diagnosis, Reason, diagnose
from opsconsole.kit.durations import spell
from tests.factories import SECOND, beat, job, run

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


def diagnosis_of(made: Job) -> Diagnosis:
    return diagnose(Job.objects.with_evidence().get(pk=made.pk))


def test_dead_worker() -> None:
    found = diagnosis_of(run(age=2 * HOUR, silent=HOUR))
    assert (found.reason, found.stale) == (Reason.DEAD_WORKER, True)
    assert "worker-1 stopped" in found.sentence and "1 h ago" in found.sentence


def test_worker_that_beats_for_another_job_moved_on() -> None:
    left = run(age=HOUR)
    beat("worker-1", job().pk, 1)
    assert diagnosis_of(left).reason == Reason.WORKER_MOVED_ON


def test_worker_that_restarted_under_its_old_id_moved_on() -> None:
    left = run(age=HOUR)
    beat("worker-1")
    assert diagnosis_of(left).reason == Reason.WORKER_MOVED_ON


def test_worker_whose_row_is_older_than_the_run_never_beat() -> None:
    silent = run(age=HOUR)
    beat("worker-1", ago=2 * HOUR)
    assert diagnosis_of(silent).reason == Reason.NEVER_BEAT


def test_never_beat() -> None:
    assert diagnosis_of(run(age=HOUR)).reason == Reason.NEVER_BEAT


def test_hung_is_not_stale() -> None:
    found = diagnosis_of(run(age=2 * HOUR, silent=SECOND))
    assert (found.reason, found.stale) == (Reason.HUNG, False)
    assert "1 h past its deadline" in found.sentence


@pytest.mark.parametrize("status", [Status.PENDING, Status.COMPLETED, Status.CANCELLED, "archived"])
def test_job_that_is_not_running_has_no_diagnosis(status: str) -> None:
    assert diagnosis_of(job(status=status, updated_at=Now() - 9 * HOUR)).reason is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 s"),
        (0, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (61, "1 min 1 s"),
        (3_600, "1 h"),
        (3_660, "1 h 1 min"),
        (86_399, "23 h 59 min"),
        (86_400, "1 d"),
        (180_000, "2 d 2 h"),
    ],
)
def test_spelled_in_the_two_largest_units(seconds: int, text: str) -> None:
    assert spell(timedelta(seconds=seconds)) == text
