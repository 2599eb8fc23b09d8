"""Tests of workers whose id stays the same: a restart is told from replicas, pools and workers that say too little."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.db.models import F

from jobs.models import Job, JobEvent, RecoveryControl, Status, WorkerHeartbeat
from jobs.recovery import rescue, sweeps
from jobs.recovery.decision import Policy, SweepAction, decide
from jobs.runs import observations
from opsconsole_worker.environment import QueueConfig
from opsconsole_worker.runs import heartbeats, lifecycle
from opsconsole_worker.runs.earlier_beats import MOST_KEPT
from opsconsole_worker.runs.heartbeats import Worker
from opsconsole_worker.runs.lifecycle import Run
from opsconsole_worker.runs.running_job import RunningJob
from tests import factories
from tests.jobs.worker.test_documented_sql import say

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)


def started(start: str | None) -> Worker:
    """Return the worker "w" in one of its processes, as the API knows it."""
    return Worker("w", hostname=None, pid=None, start=start)


ONE, TWO = started("one"), started("two")


def time_passes(time: timedelta) -> None:
    """Move what was written so far into the past."""
    Job.objects.update(**{name: F(name) - time for name in ("started_at", "updated_at", "created_at")})
    WorkerHeartbeat.objects.update(
        last_heartbeat=F("last_heartbeat") - time, started_at=F("started_at") - time
    )
    # The same for the numbers in the metadata.
    for row in WorkerHeartbeat.objects.all():
        row.metadata = earlier(row.metadata, time.total_seconds())
        row.save(update_fields=["metadata"])


def earlier(document: object, seconds: float) -> object:
    if isinstance(document, dict):
        return {
            name: round(value - seconds, 6)
            if name in {"at", "noted_at", "unnoted_at"} and isinstance(value, float)
            else earlier(value, seconds)
            for name, value in document.items()
        }
    return [earlier(each, seconds) for each in document] if isinstance(document, list) else document


def claim(worker: Worker) -> UUID:
    job = factories.job()
    assert isinstance(lifecycle.claim(job.pk, 1, worker), RunningJob)
    return job.pk


def claim_by_sql(worker: Worker) -> UUID:
    job = factories.job()
    assert say("claim", job, worker=worker.id)
    beat_by_sql(worker, job.pk)
    return job.pk


def beat(worker: Worker, job_id: UUID | None) -> None:
    heartbeats.say(worker, job_id, 1 if job_id else None)


def beat_by_sql(worker: Worker, job_id: UUID | None) -> None:
    say(
        "beat", Job(pk=job_id), 1 if job_id else None, worker=worker.id, process=worker.process, job_id=job_id
    )


def beats_on(*ways: Callable[[], object], times: int, every: timedelta = 4 * MINUTE) -> None:
    """Let time pass while these send heartbeats, always in this order, and the console looks."""
    for _ in range(times):
        time_passes(every)
        for send in ways:
            send()
        observations.look_at_workers()


def stale() -> list[UUID]:
    return list(Job.objects.stale().values_list("pk", flat=True))


@pytest.mark.parametrize(
    ("claims", "beats"), [(claim, beat), (claim_by_sql, beat_by_sql)], ids=["library", "documented SQL"]
)
@pytest.mark.parametrize("idles", [True, False])
def test_run_of_a_process_before_the_restart_is_recovered(
    claims: Callable[[Worker], UUID], beats: Callable[[Worker, UUID | None], None], idles: bool, settings: Any
) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "https://sqs.fake/jobs", None)}
    dead = claims(ONE)
    beats_on(partial(beats, ONE, dead), times=3)
    assert not stale()
    if idles:
        beats(TWO, None)
    alive = claims(TWO)
    beats_on(partial(beats, TWO, alive), times=3, every=3 * MINUTE)
    assert [not stale(), Job.objects.unknown().count()] == [True, 1], "not silent for the threshold yet"
    beats_on(partial(beats, TWO, alive), times=1, every=2 * MINUTE)
    assert stale() == [dead]
    assert not Job.objects.unknown().exists()
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM find_stale_jobs(statement_timestamp() - interval '10 minutes')")
        assert cursor.fetchall() == [(dead,)]
    RecoveryControl.objects.update(mode=RecoveryControl.Mode.ARMED)
    row = sweeps.sweep("test")
    assert (row.found, row.requeued) == (1, 1)
    reason = JobEvent.objects.get(job_id=dead, kind=JobEvent.Kind.RECOVERED).reason
    assert reason.startswith("Worker w sends heartbeats, but no longer for this run: it has left it.")
    assert Job.objects.get(pk=alive).status == Status.IN_PROGRESS


@pytest.mark.parametrize(("first", "second"), [(ONE, TWO), (TWO, ONE)])
def test_replicas_that_live_keep_their_runs_whichever_beats_last(first: Worker, second: Worker) -> None:
    runs = {worker.process: claim(worker) for worker in (ONE, TWO)}
    ways = [partial(beat, worker, runs[worker.process]) for worker in (first, second)]
    beats_on(*ways, times=5)
    assert not stale()
    # One of them dies: its run is recovered, and the other's is not.
    beats_on(ways[1], times=3)
    assert stale() == [runs[first.process]]


def test_replica_that_lives_but_names_another_run_keeps_all_its_runs() -> None:
    """A pool with one row names one run of several, and lives: whether the others do is unknown."""
    for _ in range(3):
        claim(ONE)
    last = claim(TWO)
    pool = claim(ONE)
    beats_on(partial(beat, ONE, pool), partial(beat, TWO, last), times=4)
    assert not stale()
    assert Job.objects.unknown().count() >= 3


def test_pool_that_says_it_is_idle_keeps_its_runs() -> None:
    claim(ONE)
    second = claim(ONE)
    lifecycle.complete(Run(second, 1, ONE))
    third = claim(ONE)
    observations.look_at_workers()
    beats_on(partial(beat, ONE, None), partial(beat, ONE, third), partial(beat, ONE, None), times=4)
    assert not stale()


def test_child_that_works_on_what_its_parent_claimed_keeps_the_run() -> None:
    parent, child, other = started("parent"), started("child"), started("other child")
    first = claim(parent)
    beat(child, first)
    second = claim(parent)
    beats_on(partial(beat, child, None), partial(beat, other, second), times=4)
    assert not stale()


@pytest.mark.parametrize("silent_about", ["process", "protocol"])
def test_heartbeat_that_says_too_little_leaves_the_run_unknown(silent_about: str) -> None:
    """It may come from the process that claimed the run, which the row no longer shows."""
    claim(ONE)
    alive = claim(TWO)
    for _ in range(4):
        time_passes(4 * MINUTE)
        if silent_about == "process":
            beat(started(None), alive)
        else:
            factories_beat = WorkerHeartbeat.objects.filter(pk="w")
            factories_beat.update(last_heartbeat=F("last_heartbeat") + MINUTE / 2, current_job_id=uuid4())
        beat(TWO, alive)
        observations.look_at_workers()
    assert not stale()
    assert Job.objects.unknown().count() == 1


def test_process_that_beats_after_the_page_was_read_keeps_its_run() -> None:
    dead = claim(ONE)
    alive = claim(TWO)
    beats_on(partial(beat, TWO, alive), times=3)
    policy = Policy(max_recoveries=3, queues=frozenset({"default"}), cutoff=None, forgiven_before=None)
    decision = decide(Job.objects.stale().with_evidence().get(), policy)
    assert (decision.run.pk, decision.action) == (dead, SweepAction.REQUEUE)
    beat(ONE, None)
    beat(TWO, alive)
    assert rescue.requeue([decision]) == {dead}


def test_worker_that_leaves_takes_no_run_of_its_replica_along() -> None:
    """Its row is deleted; the heartbeat that creates it anew is as old as its run."""
    first = claim(ONE)
    time_passes(30 * MINUTE)
    heartbeats.leave(TWO)
    beat(ONE, first)
    second = claim(TWO)
    observations.look_at_workers()
    assert not stale()
    assert Job.objects.unknown().get().pk == first
    assert Job.objects.get(pk=second).status == Status.IN_PROGRESS


def test_metadata_stays_small() -> None:
    for number in range(3):
        lifecycle.complete(Run(claim(ONE), 1, ONE))
        beat(ONE, None)
        assert "earlier_beats" not in WorkerHeartbeat.objects.get().metadata, number
    for number in range(MOST_KEPT + 10):
        beat(started(f"start {number}"), None)
    kept = WorkerHeartbeat.objects.get().metadata["earlier_beats"]
    assert len(kept) == MOST_KEPT
    assert kept[0]["process"] == f"start {MOST_KEPT + 8}"


@pytest.mark.parametrize(
    "metadata",
    [
        {"earlier_beats": "text"},
        {"earlier_beats": [1, None, {"at": "x"}, {"at": 1e300, "process": "p"}, [2]]},
        {"unnoted_at": "never", "noted_at": [], "process": {}},
        [],
    ],
    ids=str,
)
def test_metadata_of_others_breaks_nothing(metadata: object) -> None:
    run = claim(ONE)
    WorkerHeartbeat.objects.update(metadata=metadata)
    beat(TWO, None)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE worker_heartbeats SET metadata = %s::jsonb ||"
            " jsonb_build_object('noted_at', extract(epoch FROM last_heartbeat))",
            [json.dumps(metadata)],
        )
    beats_on(times=3)
    claim(TWO)
    observations.look_at_workers()
    assert stale() in ([], [run])
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM find_stale_jobs(statement_timestamp() - interval '10 minutes')")
