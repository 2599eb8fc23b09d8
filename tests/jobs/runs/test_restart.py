"""Tests of restarting a job: the queryset and the SQL of a recovery change the same columns (I12)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone

from jobs.models import Job, Status
from jobs.recovery import rescue
from jobs.recovery.decision import Policy, decide
from jobs.runs.diagnosis import diagnose
from jobs.runs.restart import restart
from opsconsole_worker.runs.restart import CLEARED, restart_in_statement
from tests.factories import run

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
CREATED = datetime(2026, 3, 1, tzinfo=UTC)
# Columns that differ per row, are set by the caller of the restart, or change with the clock.
OWN = {"id", "error_message", "recovery_count", "updated_at", "deadline_at"}


def dead(worker: str) -> Job:
    """Create a stale run with a value in each column."""
    return run(
        age=HOUR,
        silent=HOUR,
        worker=worker,
        epoch=4,
        error_message="it broke",
        created_at=CREATED,
        completed_at=Now() - HOUR,
        not_before=Now() - HOUR,
        deadline_at=CREATED + HOUR,
        attempts=2,
        recovery_count=1,
        payload={"x": 1},
        claimed_by_key="4:1",
    )


def row(made: Job) -> dict[str, Any]:
    [found] = Job.objects.filter(pk=made.pk).values()
    assert timedelta(0) <= timezone.now() - found["updated_at"] < 2 * HOUR
    return {name: value for name, value in found.items() if name not in OWN}


def test_queryset_statement_and_recovery_leave_equal_rows() -> None:
    by_queryset, by_statement, by_rescue = dead("worker-1"), dead("worker-2"), dead("worker-3")
    before = row(by_queryset)
    assert None not in before.values()
    began = timezone.now()

    restart(Job.objects.filter(pk=by_queryset.pk))
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE jobs AS job SET {restart_in_statement('job')} WHERE id = %s", [by_statement.pk]
        )
    policy = Policy(max_recoveries=3, queues=frozenset({"default"}), cutoff=None, forgiven_before=None)
    assert rescue.requeue([decide(Job.objects.with_evidence().get(pk=by_rescue.pk), policy)]) == set()

    expected = before | dict.fromkeys(CLEARED) | {"status": Status.PENDING, "run_epoch": 5}
    assert row(by_queryset) == row(by_statement) == row(by_rescue) == expected
    assert not Job.objects.filter(updated_at__lt=began - timedelta(minutes=1)).exists()


def test_changes_of_caller_take_precedence() -> None:
    made = dead("worker-1")
    restart(Job.objects.filter(pk=made.pk), not_before=Now() + HOUR, attempts=0)
    made.refresh_from_db()
    assert (made.status, made.attempts, made.worker_id) == (Status.PENDING, 0, None)
    assert made.not_before is not None


DEADLINES: dict[str, tuple[timedelta | None, timedelta | None, timedelta | None]] = {
    # How long ago the run started, when its deadline is, and when that of the next run is. None: never, or the setting's.
    "passed": (3 * HOUR, -HOUR, 2 * HOUR),
    "still to come": (3 * HOUR, HOUR, 4 * HOUR),
    "before the start": (3 * HOUR, -4 * HOUR, None),
    "never started, passed": (None, -HOUR, None),
    "never started, still to come": (None, HOUR, HOUR),
    "none": (3 * HOUR, None, None),
}


@pytest.mark.parametrize("name", DEADLINES)
def test_new_run_gets_as_much_time_as_the_last_one(name: str) -> None:
    started, deadline, expected = DEADLINES[name]
    pair = run(age=3 * HOUR), run(age=3 * HOUR, worker="worker-2")
    jobs = Job.objects.filter(pk__in=[made.pk for made in pair])
    jobs.update(
        started_at=None if started is None else Now() - started,
        deadline_at=None if deadline is None else Now() + deadline,
    )
    restart(jobs.filter(pk=pair[0].pk))
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE jobs AS job SET {restart_in_statement('job')} WHERE id = %s", [pair[1].pk])
    for made in jobs:
        if expected is None:
            assert made.deadline_at is None
        else:
            assert made.deadline_at
            assert abs(made.deadline_at - timezone.now() - expected) < timedelta(minutes=1)
    jobs.update(status=Status.IN_PROGRESS, claimed_epoch=2, started_at=Now())
    assert {diagnose(job).reason for job in jobs.with_evidence()} == {None}
