"""Tests of the looks at heartbeats: wrong clocks, shared ids, and workers that do not name their jobs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now

from jobs.models import (
    Job,
    MeasuredRun,
    QueueNaming,
    QueueState,
    RecoveryControl,
    WorkerHeartbeat,
    WorkerObservation,
)
from jobs.runs import observations
from opsconsole_worker.runs import heartbeats
from opsconsole_worker.runs.heartbeats import Worker
from tests import factories
from tests.factories import SECOND

pytestmark = pytest.mark.django_db

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def beat(clock: timedelta, ago: timedelta = timedelta(0), **fields: Any) -> None:
    """Send a heartbeat of the worker "w", ``ago``, by a clock that is ahead by ``clock``."""
    factories.beat("w", None, None, ago=ago - clock)
    WorkerHeartbeat.objects.update(**fields)


def time_passes(time: timedelta) -> None:
    """Move all that was written so far into the past."""
    WorkerHeartbeat.objects.update(last_heartbeat=F("last_heartbeat") - time)
    WorkerObservation.objects.update(beat_at=F("beat_at") - time, seen_at=F("seen_at") - time)
    RecoveryControl.objects.update(beats_looked_at=F("beats_looked_at") - time)


def counted() -> timedelta:
    """Return how long ago the heartbeat counts."""
    row = WorkerHeartbeat.objects.with_counted_beat().annotate(silence=Now() - F("counted_at")).get()
    silence: timedelta = row.silence
    return silence


def offset() -> timedelta | None:
    [found] = WorkerObservation.objects.values_list("clock_offset", flat=True)
    return found


def about(time: timedelta) -> Any:
    return pytest.approx(time.total_seconds(), abs=20)


@pytest.mark.parametrize("clock", [2 * DAY, -11 * MINUTE, -3 * DAY, HOUR], ids=str)
def test_wrong_clock_is_known_after_a_few_looks_and_counts_by_sight(clock: timedelta) -> None:
    beat(clock)
    observations.look_at_beats()
    for _ in range(3):
        time_passes(2 * MINUTE)
        # The last of the heartbeats since the last look.
        beat(clock, ago=10 * SECOND)
        assert counted() < MINUTE
        observations.look_at_beats()
    found = offset()
    assert found and found.total_seconds() == pytest.approx(clock.total_seconds(), abs=40)
    time_passes(9 * MINUTE)
    observations.look_at_beats()
    assert counted().total_seconds() == pytest.approx(9 * 60 + 10, abs=40), (
        "the worker is silent, by our clock"
    )


@pytest.mark.parametrize("clock", [timedelta(0), 30 * SECOND, -30 * SECOND], ids=str)
def test_clock_that_is_right_within_a_minute_is_believed(clock: timedelta) -> None:
    beat(clock)
    observations.look_at_beats()
    for _ in range(3):
        time_passes(2 * MINUTE)
        beat(clock, ago=10 * SECOND)
        observations.look_at_beats()
        assert offset() is None
    time_passes(9 * MINUTE)
    observations.look_at_beats()
    assert counted().total_seconds() == about(9 * MINUTE + 10 * SECOND - clock)
    assert offset() is None


def test_clock_that_jumps_back_counts_by_sight_and_is_believed_again_when_it_is_right() -> None:
    beat(timedelta(0))
    observations.look_at_beats()
    time_passes(2 * MINUTE)
    beat(-HOUR)
    assert counted().total_seconds() == about(timedelta(0)), "it changed since the last look"
    observations.look_at_beats()
    assert counted() < 2 * MINUTE + SECOND and offset()
    time_passes(2 * MINUTE)
    beat(timedelta(0))
    observations.look_at_beats()
    assert offset() is None
    assert counted().total_seconds() == about(timedelta(0))


def test_look_at_fresh_and_silent_workers_writes_each_once() -> None:
    """No heartbeat costs a write: a worker is recorded at first, and when it falls silent."""
    for number in range(3):
        factories.beat(f"w{number}")
    observations.look_at_beats()
    before = set(WorkerObservation.objects.values_list("pk", "beat_at"))
    assert len(before) == 3
    time_passes(30 * SECOND)
    for number in range(2):
        factories.beat(f"w{number}")
    observations.look_at_beats()
    time_passes(2 * MINUTE)
    for number in range(2):
        factories.beat(f"w{number}")
    observations.look_at_beats()
    assert {pk for pk, _ in before ^ set(WorkerObservation.objects.values_list("pk", "beat_at"))} <= {
        "w0",
        "w1",
        "w2",
    }
    assert not WorkerObservation.objects.clock_off().exists()


def test_workers_of_runs_that_were_just_taken_are_not_recorded() -> None:
    dead = factories.run(age=HOUR, silent=HOUR)
    Job.objects.filter(pk=dead.pk).update(run_epoch=2, status="pending")
    observations.look_at_beats()
    assert not WorkerObservation.objects.exists()


def test_processes_that_take_turns_under_one_id_share_it() -> None:
    for host in ("a", "b"):
        beat(timedelta(0), hostname=host, pid=7)
        observations.look_at_beats()
        assert not WorkerObservation.objects.shared().exists(), "a restart elsewhere"
    beat(timedelta(0), hostname="a", pid=7)
    observations.look_at_beats()
    assert WorkerObservation.objects.shared().exists()


def test_our_own_heartbeats_tell_which_process_sends_them() -> None:
    made = factories.job()
    for host in ("a", "b", "a"):
        heartbeats.say(Worker("w", hostname=host, pid=7), made.pk, 1)
        observations.look_at_beats()
    assert WorkerObservation.objects.shared().exists()
    heartbeats.say(Worker("w", hostname=None, pid=None))
    assert WorkerHeartbeat.objects.get().hostname == "a"


def test_id_with_several_runs_at_once_is_shared_unless_its_process_is_newer() -> None:
    first, second = factories.run(age=HOUR), factories.run(age=MINUTE, silent=SECOND)
    observations.look_at_workers()
    assert list(WorkerObservation.objects.shared().values_list("pk", flat=True)) == ["worker-1"]
    assert Job.objects.unknown().get() == first
    assert Job.objects.running().exclude(pk=first.pk).get() == second

    WorkerObservation.objects.all().delete()
    WorkerHeartbeat.objects.update(started_at=Now() - 5 * MINUTE)
    observations.look_at_workers()
    assert Job.objects.stale().get() == first, "the process began after the run, so it has left it"

    Job.objects.filter(pk=first.pk).update(started_at=Now() + DAY)
    observations.look_at_workers()
    assert Job.objects.stale().get() == first, "a start in the future is not believed"


def test_share_of_named_runs_is_measured_for_runs_without_our_protocol() -> None:
    named = [factories.run(age=2 * MINUTE, claimed=False) for _ in range(9)]
    for number, made in enumerate(named):
        factories.beat(f"w{number}", made.pk)
    factories.run(age=HOUR)
    factories.run(age=SECOND, claimed=False)
    forgotten = factories.run(age=2 * DAY, claimed=False)
    observations.look_at_workers()
    naming = QueueNaming.objects.get()
    assert (naming.queue, naming.seen, naming.named, naming.names_its_jobs) == ("default", 9, 9, False)
    tenth = factories.run(age=2 * MINUTE, claimed=False)
    observations.look_at_workers()
    assert not QueueNaming.objects.naming().filter(named=10).exists()
    factories.beat("w9", tenth.pk)
    observations.look_at_workers()
    naming = QueueNaming.objects.get()
    assert (naming.seen, naming.named, naming.names_its_jobs) == (10, 10, True)
    assert QueueNaming.objects.naming().exists()
    assert Job.objects.unknown().count() == 0
    assert Job.objects.stale().get(claimed_epoch=None) == forgotten


def test_silence_of_a_dead_run_says_nothing_more_about_its_queue() -> None:
    """A worker with a fixed id was restarted and is idle: nothing names its dead run ever again."""
    QueueState.objects.create(name="default", visibility_timeout_seconds=30)
    QueueNaming.objects.create(queue="default", seen=1_000, named=1_000)
    dead = factories.run(age=2 * HOUR, claimed=False)
    Job.objects.filter(pk=dead.pk).update(worker_id="host-1")
    factories.beat("host-1")
    for _ in range(60):
        observations.look_at_workers()
    naming = QueueNaming.objects.get()
    assert (naming.seen, naming.named) == (501, 500)
    assert Job.objects.stale().get() == dead


def test_run_that_ended_or_was_named_long_ago_counts_once() -> None:
    made = factories.run(age=2 * MINUTE, claimed=False, silent=SECOND)
    observations.look_at_workers()
    WorkerHeartbeat.objects.update(current_job_id=None)
    observations.look_at_workers()
    assert QueueNaming.objects.values_list("seen", "named").get() == (1, 1)
    assert observations.forget_ended_runs() == 0
    Job.objects.filter(pk=made.pk).update(run_epoch=2)
    observations.look_at_workers()
    assert QueueNaming.objects.values_list("seen", "named").get() == (2, 1), "another run of the job"
    Job.objects.update(status="completed")
    assert observations.forget_ended_runs() == 1
    assert not MeasuredRun.objects.exists()


def test_queue_of_a_long_name_stops_no_look() -> None:
    """A name that an index entry cannot hold, also compressed."""
    made, other = factories.run(age=HOUR, claimed=False), factories.run(age=HOUR, claimed=False)
    with connection.cursor() as cursor:
        cursor.execute("DROP INDEX opsconsole_jobs_since_idx")
        cursor.execute(
            "UPDATE jobs SET queue = (SELECT string_agg(md5(number::text), '') FROM generate_series(1, 300) AS number)"
            " WHERE id = %s",
            [made.pk],
        )
    observations.look_at_workers()
    assert QueueNaming.objects.values_list("queue", "seen").get() == (other.queue, 1)


def test_workers_without_heartbeat_are_forgotten() -> None:
    beat(timedelta(0))
    observations.look_at_beats()
    assert observations.forget_gone_workers() == 0
    WorkerHeartbeat.objects.all().delete()
    assert observations.forget_gone_workers() == 1
