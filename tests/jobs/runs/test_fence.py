"""Tests of the fence after a restore: two workers hold one epoch, and only the one that the row names counts (I1)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test import Client

from jobs.models import Job, JobEvent, RecoveryControl, Status, WorkerHeartbeat
from jobs.recovery import control, sweeps
from jobs.runs.timeline import Actor
from opsconsole_worker.environment import QueueConfig
from opsconsole_worker.runs import fence, heartbeats, lifecycle
from opsconsole_worker.runs.heartbeats import Verdict, Worker
from opsconsole_worker.runs.lifecycle import Failure, Run
from opsconsole_worker.runs.running_job import RunningJob
from tests import factories, keys

pytestmark = pytest.mark.django_db

W2, W3 = Worker("w2"), Worker("w3")
HOUR = timedelta(hours=1)


@pytest.fixture
def two_runs(settings: Any) -> tuple[Run, Run]:
    """Return the same epoch of one job in the hands of two workers, as a restore of a backup leaves it.

    The backup has run 1, whose worker has died. After it, run 2 was claimed by w2. The restore forgets that, a sweep makes
    another run 2, and w3 claims it.
    """
    settings.QUEUES = {"default": QueueConfig("default", "https://sqs.fake/1/jobs", None)}
    control.arm(Actor.operator("olga", None), "tested", None)
    job = factories.run(age=HOUR, silent=HOUR, worker="w1")
    RecoveryControl.objects.update(outage_ended_at=None)
    assert sweeps.sweep("command").requeued == 1
    assert isinstance(lifecycle.claim(job.pk, 2, W3), RunningJob)
    return Run(job.pk, 2, W2), Run(job.pk, 2, W3)


def row(run: Run) -> Mapping[str, Any]:
    return Job.objects.filter(pk=run.job_id).values().get()


def late(run: Run) -> list[JobEvent]:
    return list(JobEvent.objects.filter(job_id=run.job_id, kind=JobEvent.Kind.LATE_RESULT_REJECTED))


def test_result_of_the_other_worker_is_refused_and_recorded(two_runs: tuple[Run, Run]) -> None:
    lost, current = two_runs
    before = row(lost)

    assert not lifecycle.complete(lost, {"submitted": 50})

    assert row(lost) == before
    [event] = late(lost)
    assert (event.actor, event.run_epoch) == ("worker:w2", 2)
    assert event.details == {
        "tried": "completed",
        "job": {"status": "in_progress", "epoch": 2, "worker": "w3"},
    }
    assert lifecycle.complete(current)
    assert row(lost)["status"] == Status.COMPLETED


@pytest.mark.parametrize("retryable", [True, False])
def test_failure_of_the_other_worker_is_refused_and_recorded(
    two_runs: tuple[Run, Run], retryable: bool
) -> None:
    lost, current = two_runs
    before = row(lost)
    assert lifecycle.fail(lost, "it broke", retryable=retryable) is Failure.REJECTED
    assert row(lost) == before
    assert [event.reason for event in late(lost)] == ["it broke"]
    assert lifecycle.complete(current)


def test_other_worker_hears_that_it_is_superseded(two_runs: tuple[Run, Run]) -> None:
    lost, current = two_runs
    assert heartbeats.beat(W2, lost.job_id, 2) is Verdict.SUPERSEDED
    assert heartbeats.verdict(lost.job_id, 2, W2) is Verdict.SUPERSEDED
    assert not lifecycle.note(lost, "submitted to maps")
    assert heartbeats.beat(W3, current.job_id, 2) is Verdict.GO_ON
    assert lifecycle.note(current, "submitted to maps")
    notes = JobEvent.objects.filter(kind=JobEvent.Kind.PROGRESS).order_by("id")
    assert [(note.actor, note.details["late"]) for note in notes] == [
        ("worker:w2", True),
        ("worker:w3", False),
    ]


def test_heartbeats_of_the_other_worker_keep_no_run_alive(two_runs: tuple[Run, Run]) -> None:
    lost, current = two_runs
    Job.objects.update(started_at=Now() - HOUR, updated_at=Now() - HOUR)
    WorkerHeartbeat.objects.filter(worker_id="w3").update(last_heartbeat=Now() - HOUR)
    heartbeats.beat(W2, lost.job_id, 2)
    beat = WorkerHeartbeat.objects.get(worker_id="w2")
    assert (beat.current_job_id, beat.current_run_epoch) == (lost.job_id, None)
    assert Job.objects.stale().filter(pk=lost.job_id).exists()
    heartbeats.beat(W3, current.job_id, 2)
    assert not Job.objects.stale().filter(pk=lost.job_id).exists()


def test_cancelled_run_of_another_worker_is_superseded(two_runs: tuple[Run, Run]) -> None:
    lost, current = two_runs
    Job.objects.update(status=Status.CANCELLED)
    assert heartbeats.beat(W2, lost.job_id, 2) is Verdict.SUPERSEDED
    assert heartbeats.beat(W3, current.job_id, 2) is Verdict.CANCELLED


def test_api_refuses_the_other_worker(two_runs: tuple[Run, Run], client: Client) -> None:
    lost, _ = two_runs
    headers = keys.sent(keys.key("worker", ["worker"])[1])
    # As a program claims that knows nothing of keys.
    Job.objects.update(claimed_by_key=None)

    def said(what: str, **fields: Any) -> tuple[int, dict[str, Any]]:
        answer = client.post(
            f"/api/jobs/{lost.job_id}/{what}",
            json.dumps({"worker_id": "w2", "run_epoch": 2} | fields),
            content_type="application/json",
            headers=headers,
        )
        return answer.status_code, answer.json()

    assert said("beat") == (200, {"verdict": "superseded"})
    assert said("progress", note="submitted") == (200, {"verdict": "superseded"})
    for report in (said("complete"), said("fail", error="it broke")):
        status, answer = report
        assert (status, answer["reason"]) == (409, "superseded")
    assert len(late(lost)) == 2
    assert said("complete", worker_id="w3") == (200, {"outcome": "completed"})


@pytest.mark.parametrize("named", [None, ""])
def test_row_without_a_worker_lets_each_worker_report(named: str | None) -> None:
    """Keep workers of the old kind working, which write no worker_id, and those of a rolling upgrade."""
    job = factories.run()
    Job.objects.update(worker_id=named)
    assert heartbeats.beat(W2, job.pk, 1) is Verdict.GO_ON
    assert lifecycle.note(Run(job.pk, 1, W2), "submitted")
    assert lifecycle.complete(Run(job.pk, 1, W2))


def test_replicas_with_one_fixed_id_are_told_apart_by_the_epoch_only(two_runs: tuple[Run, Run]) -> None:
    """Record what the fence cannot do: two replicas under one id and one epoch look alike."""
    _, current = two_runs
    Job.objects.update(worker_id="worker")
    replica = Worker("worker")
    assert lifecycle.complete(Run(current.job_id, 2, replica))
    assert lifecycle.complete(Run(current.job_id, 2, replica))
    assert not late(current)
    assert not lifecycle.complete(Run(current.job_id, 1, replica))
    assert len(late(current)) == 1


@pytest.mark.parametrize("row_worker", [None, "", "w2", "w3", " w2"])
@pytest.mark.parametrize("row_key", [None, "", "2:", "2:k1", "2:k2", "1:k1", "22:k2", "%", "2:%"])
@pytest.mark.parametrize("key", ["", "k1"])
def test_the_condition_admits_by_the_name_and_the_key_on_the_row(
    row_worker: str | None, row_key: str | None, key: str
) -> None:
    factories.job(worker_id=row_worker, claimed_by_key=row_key, run_epoch=2)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {fence.in_statement()} FROM jobs", {"worker": "w2", "key": key})
        # A key that the row keeps with another epoch says nothing about this run.
        keeps_key_of_run = (row_key or "").startswith("2:")
        admitted = row_worker in {None, "", "w2"} and (not keeps_key_of_run or row_key == f"2:{key}")
        assert cursor.fetchone()[0] is admitted
