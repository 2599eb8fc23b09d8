"""Tests of the metrics that follow the timelines."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db.models.functions import Now
from pytest_django.fixtures import Settings

from jobs.models import Job, JobEvent
from jobs.watch import event_metrics
from opsconsole_worker.environment import QueueConfig
from tests import factories
from tests.counting import Counted

pytestmark = pytest.mark.django_db

Kind = JobEvent.Kind
MINUTE = timedelta(minutes=1)


@pytest.fixture
def follow(tmp_path: Path, settings: Settings) -> Callable[[], None]:
    """Return a function that follows the timelines from where they end now."""
    settings.QUEUES = {name: QueueConfig(name, f"https://x/{name}", None) for name in ("default", "slow")}
    bookmark = tmp_path / "bookmark"
    event_metrics.follow(bookmark)
    return lambda: event_metrics.follow(bookmark)


def event(job: Job, kind: Kind, *, ago: timedelta, epoch: int = 1, **details: Any) -> None:
    JobEvent.objects.create(job=job, kind=kind, run_epoch=epoch, at=Now() - ago, actor="x", details=details)


def test_waits_and_runs_are_observed_once(counted: Counted, follow: Callable[[], None]) -> None:
    job = factories.job(queue="slow", created_at=Now() - 90 * MINUTE)
    event(job, Kind.CLAIMED, ago=80 * MINUTE)
    event(job, Kind.RETRY_SCHEDULED, ago=79 * MINUTE)
    event(job, Kind.CLAIMED, ago=49 * MINUTE, epoch=2)
    event(job, Kind.COMPLETED, ago=45 * MINUTE, epoch=2)
    for _ in range(2):
        follow()
    waits = [
        counted("opsconsole_job_wait_duration_seconds_bucket", queue="slow", le=le)
        for le in ("300.0", "600.0", "1200.0", "1800.0", "3600.0")
    ]
    assert waits[0] == 0 and waits[-1] == 2
    assert counted("opsconsole_job_wait_duration_seconds_sum", queue="slow") == pytest.approx(40 * 60, abs=30)
    for outcome, seconds in (("retry_scheduled", 60), ("completed", 240)):
        measured = counted("opsconsole_run_duration_seconds_sum", queue="slow", outcome=outcome)
        assert measured == pytest.approx(seconds, abs=30)
    assert counted("opsconsole_job_events_total", queue="slow", kind="claimed") == 2


def test_a_queue_that_a_producer_made_up_is_no_series(counted: Counted, follow: Callable[[], None]) -> None:
    for number in range(3):
        event(factories.job(queue=f"made-up-{number}"), Kind.ENQUEUED, ago=MINUTE)
    follow()
    assert counted("opsconsole_job_events_total", queue="(other)", kind="enqueued") == 3
    assert counted("opsconsole_job_events_total", queue="made-up-1", kind="enqueued") == 0


def test_a_wait_begins_when_the_run_may_begin(counted: Counted, follow: Callable[[], None]) -> None:
    job = factories.job(created_at=Now() - 60 * MINUTE, not_before=Now() - 10 * MINUTE)
    event(job, Kind.ENQUEUED, ago=60 * MINUTE)
    event(job, Kind.CLAIMED, ago=9 * MINUTE)
    follow()
    assert counted("opsconsole_job_wait_duration_seconds_sum", queue="default") == pytest.approx(60, abs=30)


def test_time_to_recovery_is_the_silence_of_the_worker(counted: Counted, follow: Callable[[], None]) -> None:
    job = factories.job()
    event(job, Kind.RECOVERED, ago=MINUTE, silent_seconds=700.5)
    follow()
    assert counted("opsconsole_time_to_recovery_seconds_sum", queue="default") == 700.5


def test_what_is_behind_a_young_event_waits_for_the_next_time(
    counted: Counted, follow: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = factories.job()
    event(job, Kind.COMPLETED, ago=MINUTE)
    event(job, Kind.FAILED, ago=timedelta(0))
    event(job, Kind.CANCELLED, ago=MINUTE)
    follow()
    assert counted("opsconsole_job_events_total", queue="default", kind="completed") == 1
    assert counted("opsconsole_job_events_total", queue="default", kind="cancelled") == 0
    monkeypatch.setattr(event_metrics, "SETTLING", timedelta(0))
    follow()
    assert counted("opsconsole_job_events_total", queue="default", kind="completed") == 1
    assert counted("opsconsole_job_events_total", queue="default", kind="cancelled") == 1


def test_events_before_the_first_scrape_are_not_counted(counted: Counted, tmp_path: Path) -> None:
    event(factories.job(), Kind.COMPLETED, ago=MINUTE)
    for _ in range(2):
        event_metrics.follow(tmp_path / "bookmark")
    assert counted("opsconsole_job_events_total", queue="default", kind="completed") == 0
