"""Tests of the what-if page: what another threshold would have done, judged from the timeline."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from jobs.models import JobEvent, RecoveryControl, WorkerHeartbeat
from jobs.recovery import sweeps, what_if
from opsconsole_worker.environment import QueueConfig
from opsconsole_worker.runs import heartbeats, lifecycle
from opsconsole_worker.runs.heartbeats import Worker
from opsconsole_worker.runs.lifecycle import Run
from tests import people
from tests.factories import SECOND, job

pytestmark = pytest.mark.django_db
WORKER = Worker("worker-1", "host", 1)
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _armed(settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:9/queue", None)}
    RecoveryControl.objects.update(mode=RecoveryControl.Mode.ARMED)


def begun() -> Run:
    made = lifecycle.claim(job().pk, 1, WORKER)
    assert not isinstance(made, lifecycle.Refused)
    return Run(made.id, made.epoch, WORKER)


def silent_for(run: Run, time: timedelta) -> None:
    """Age the last beat by this much time."""
    WorkerHeartbeat.objects.filter(worker_id=run.worker.id).update(last_heartbeat=Now() - time)


def answers(*seconds: int) -> list[tuple[int, int]]:
    asked = what_if.would_have([timedelta(seconds=each) for each in seconds])
    return [(answer.rescued, answer.alive) for answer in asked]


def test_longest_silence_of_ended_run() -> None:
    run = begun()
    silent_for(run, 200 * SECOND)
    heartbeats.beat(run.worker, run.job_id, run.epoch)
    silent_for(run, 20 * SECOND)
    lifecycle.complete(run, {"directories": 3})

    details = JobEvent.objects.get(kind=JobEvent.Kind.COMPLETED).details
    assert details["directories"] == 3
    assert 199 < details["longest_silence_seconds"] < 260
    assert answers(100, 300) == [(1, 1), (0, 0)]


def test_silence_before_the_end_counts() -> None:
    run = begun()
    silent_for(run, 200 * SECOND)
    lifecycle.fail(run, "no answer")

    assert answers(100, 300) == [(1, 1), (0, 0)]


def test_silence_is_counted_per_run() -> None:
    run = begun()
    silent_for(run, 200 * SECOND)
    heartbeats.beat(run.worker, run.job_id, run.epoch)
    lifecycle.complete(run)
    lifecycle.complete(begun())

    assert JobEvent.objects.latest("id").details["longest_silence_seconds"] < 60


def test_dead_worker_is_rescued_by_any_threshold_and_not_alive() -> None:
    run = begun()
    _taken(run)

    assert answers(60, 86_400) == [(1, 0), (1, 0)]


def test_worker_that_came_back_was_alive() -> None:
    run = begun()
    _taken(run)
    lifecycle.complete(run)

    # The worker was silent for an hour and came back: a threshold of two hours would have left it the run.
    assert answers(600, 7_200) == [(1, 1), (0, 0)]


def test_run_of_the_old_kind_is_unknown_and_not_counted() -> None:
    JobEvent.objects.create(job=job(), kind=JobEvent.Kind.COMPLETED, actor="worker:old")

    asked = what_if.would_have([HOUR])[0]

    assert (asked.rescued, asked.known, asked.unknown) == (0, 0, 1)


def test_events_older_than_a_week_are_not_read() -> None:
    old = {"longest_silence_seconds": 5_000}
    JobEvent.objects.create(
        job=job(), kind=JobEvent.Kind.COMPLETED, actor="w", at=Now() - 8 * 24 * HOUR, details=old
    )

    assert answers(60) == [(0, 0)]


def test_page_answers_and_refuses_nonsense(client: Client) -> None:
    client.force_login(people.viewer())
    url = reverse("admin:jobs_recovery_hindsight")
    run = begun()
    silent_for(run, 200 * SECOND)
    lifecycle.complete(run)

    page = client.get(url, {"minutes": "3"}).content.decode()
    assert "about 1 of 1 run" in page and "This is an estimate" in page
    for nonsense in ("0", "-1", "x", "99999999"):
        assert "Give a number of minutes" in client.get(url, {"minutes": nonsense}).content.decode()


def _taken(run: Run) -> None:
    from jobs.models import Job

    silent_for(run, HOUR)
    Job.objects.filter(pk=run.job_id).update(started_at=Now() - HOUR, updated_at=Now() - HOUR)
    assert sweeps.sweep("test").requeued == 1
