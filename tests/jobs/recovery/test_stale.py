"""Which runs count as stale (I3), at the boundaries; the SQL function and the QuerySet answer alike."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone

from jobs.models import Job, QueueState, RecoveryControl, Status, WorkerHeartbeat
from tests.factories import SECOND, beat, job, run

pytestmark = pytest.mark.django_db

THRESHOLD = timedelta(minutes=10)


def stale() -> set[UUID]:
    return set(Job.objects.stale().values_list("pk", flat=True))


def stale_by_sql_function() -> set[UUID]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM find_stale_jobs(now() - %s::interval)", ["10 minutes"])
        return {row[0] for row in cursor.fetchall()}


@pytest.mark.parametrize(
    ("silent", "expected"),
    [(THRESHOLD - SECOND, False), (THRESHOLD, False), (THRESHOLD + SECOND, True)],
    ids=["just under", "at", "just over"],
)
def test_threshold(silent: timedelta, expected: bool) -> None:
    now = timezone.now()
    aged = run(age=timedelta(hours=1), silent=silent)
    cutoff = now - THRESHOLD
    WorkerHeartbeat.objects.update(last_heartbeat=now - silent)
    assert Job.objects.stale(cutoff).filter(pk=aged.pk).exists() is expected
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM find_stale_jobs(%s)", [cutoff])
        assert cursor.fetchone()[0] == int(expected)


def test_run_without_a_beat_has_the_threshold_as_grace() -> None:
    young, old = run(age=THRESHOLD - 5 * SECOND), run(age=THRESHOLD + SECOND, worker="worker-2")
    assert stale() == stale_by_sql_function() == {old.pk}
    assert young.pk not in stale()


def test_beat_of_an_earlier_run_or_another_job_does_not_count() -> None:
    superseded = run(age=2 * THRESHOLD, epoch=3)
    beat("worker-1", superseded.pk, 2)
    moved_on = run(age=2 * THRESHOLD, worker="worker-2")
    beat("worker-2", job().pk, 1)
    assert stale() == stale_by_sql_function() == {superseded.pk, moved_on.pk}


def test_dead_workers_old_row_does_not_condemn_a_healthy_second_run() -> None:
    second = run(age=THRESHOLD * 2, epoch=2, worker="worker-2", silent=SECOND)
    beat("worker-1", second.pk, 1, ago=3 * THRESHOLD)
    assert stale() == stale_by_sql_function() == set()


def test_beat_without_epoch_counts_only_while_nobody_of_our_protocol_claimed() -> None:
    claimed = run(age=2 * THRESHOLD)
    beat("old-kind-1", claimed.pk, None)
    unclaimed = run(age=2 * THRESHOLD, claimed=False)
    beat("old-kind-2", unclaimed.pk, None)
    assert stale() == stale_by_sql_function() == {claimed.pk}


@pytest.mark.parametrize(
    ("visibility", "age", "expected"),
    [
        (30, THRESHOLD + SECOND, True),
        (1_800, THRESHOLD + SECOND, False),
        (1_800, timedelta(minutes=30), False),
        (1_800, timedelta(minutes=31), True),
        (None, timedelta(hours=11), False),
        (None, timedelta(hours=13), True),
    ],
)
def test_run_of_the_old_kind_is_left_to_sqs_for_its_visibility_timeout(
    visibility: int | None, age: timedelta, expected: bool
) -> None:
    QueueState.objects.create(name="default", visibility_timeout_seconds=visibility)
    old_kind = run(age=age - SECOND / 2, claimed=False)
    assert stale() == stale_by_sql_function() == ({old_kind.pk} if expected else set())


def test_after_an_outage_staleness_counts_from_its_end() -> None:
    silent = run(age=timedelta(hours=1), silent=timedelta(minutes=50))
    RecoveryControl.objects.update(outage_ended_at=Now() - timedelta(minutes=9))
    assert stale() == stale_by_sql_function() == set()
    RecoveryControl.objects.update(outage_ended_at=Now() - timedelta(minutes=11))
    assert stale() == stale_by_sql_function() == {silent.pk}


@pytest.mark.parametrize("status", [*[s for s in Status if s != Status.IN_PROGRESS], "archived"])
def test_only_running_jobs_are_ever_stale(status: str) -> None:
    run(age=timedelta(days=3))
    Job.objects.update(status=status)
    assert stale() == stale_by_sql_function() == set()


def test_hung_run_beats_past_its_deadline_and_is_not_stale() -> None:
    hung = run(age=timedelta(hours=2), silent=SECOND)
    in_time = run(age=timedelta(hours=2), silent=SECOND, worker="w2", deadline_at=Now() + timedelta(hours=1))
    assert stale() == set()
    assert set(Job.objects.hung()) == {hung}
    assert in_time not in Job.objects.hung()


@pytest.mark.parametrize(
    ("silent", "since", "expected"),
    [
        # Nothing can be silent for the threshold and have been seen since less than that.
        (THRESHOLD - SECOND, THRESHOLD, False),
        (THRESHOLD + SECOND, THRESHOLD - SECOND, False),
        (THRESHOLD + SECOND, THRESHOLD, False),
        (THRESHOLD + SECOND, THRESHOLD + 2 * SECOND, True),
        (2 * THRESHOLD, 2 * THRESHOLD - SECOND, False),
        (2 * THRESHOLD, 2 * THRESHOLD + SECOND, True),
    ],
)
def test_stale_and_seen_since_a_moment(silent: timedelta, since: timedelta, expected: bool) -> None:
    run(age=3 * THRESHOLD, silent=silent)
    now = RecoveryControl.objects.annotate(db_now=Now()).values_list("db_now", flat=True).get()
    assert Job.objects.stale_and_seen_since(now - since).exists() is expected
