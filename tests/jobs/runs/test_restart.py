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
from jobs.runs.restart import CLEARED, restart, restart_in_statement
from tests.factories import run

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
CREATED = datetime(2026, 3, 1, tzinfo=UTC)
# Columns that differ per row, are set by the caller of the restart, or change with the clock.
OWN = {"id", "error_message", "recovery_count", "updated_at"}


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
    assert not Job.objects.filter(updated_at__lt=began - timedelta(seconds=5)).exists()


def test_changes_of_caller_take_precedence() -> None:
    made = dead("worker-1")
    restart(Job.objects.filter(pk=made.pk), not_before=Now() + HOUR, attempts=0)
    made.refresh_from_db()
    assert (made.status, made.attempts, made.worker_id) == (Status.PENDING, 0, None)
    assert made.not_before is not None
