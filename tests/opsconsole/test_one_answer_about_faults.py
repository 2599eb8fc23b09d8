"""Tests that overview, probe and alert agree on unreadable queues and missing workers (I12)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from django.test import Client

from alerts.models import Alert
from jobs.models import Job, QueueState
from jobs.recovery import surroundings
from jobs.watch import gauges, worker_gauges
from opsconsole import overview
from opsconsole_worker.environment import QueueConfig
from tests.factories import beat, job, run

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def one_queue(settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "https://sqs.fake/jobs", None)}
    overview.memory.clear()


def open_rules() -> set[str]:
    gauges.watch()
    return set(Alert.objects.open().values_list("rule", flat=True))


def sentences() -> str:
    return " ".join(finding.sentence for finding in overview.findings(overview.read(), surroundings.read()))


@pytest.mark.parametrize(
    ("reading", "unreadable"),
    [
        ({"read_at": Now(), "checked_at": Now(), "error": ""}, False),
        # A single timeout is no fault yet.
        ({"read_at": Now() - MINUTE, "checked_at": Now(), "error": "timed out"}, False),
        ({"read_at": Now() - 2 * MINUTE, "checked_at": Now(), "error": "timed out"}, True),
        ({"read_at": None, "checked_at": Now(), "error": "AccessDenied"}, True),
    ],
)
def test_unreadable_queue(reading: dict[str, Any], unreadable: bool) -> None:
    QueueState.objects.create(name="default", **reading)
    said = {
        "the overview": "Queue default can't be read." in sentences(),
        "the alert": "queue_unreadable" in open_rules(),
        "the probe": Client().get("/readyz").json()["checks"]["queue"] == "failing",
    }
    assert said == dict.fromkeys(said, unreadable)


@pytest.mark.parametrize(
    ("waits", "last_beat", "missed"),
    [
        (3 * MINUTE, MINUTE, False),
        # Silent, but not reported yet: all workers may be restarting.
        (3 * MINUTE, 4 * MINUTE, False),
        (3 * MINUTE, 6 * MINUTE, True),
        (3 * MINUTE, None, True),
        (MINUTE, None, False),
        (None, None, False),
    ],
)
def test_missing_workers(waits: timedelta | None, last_beat: timedelta | None, missed: bool) -> None:
    if waits is not None:
        job(updated_at=Now() - waits)
    if last_beat is not None:
        beat("worker-1", ago=last_beat)
    said = {
        "the overview": "no worker is alive" in sentences(),
        "the alert": "no_live_worker" in open_rules(),
    }
    assert said == dict.fromkeys(said, missed)


def test_running_job_alone_needs_no_worker() -> None:
    run(age=HOUR, silent=HOUR)
    assert Job.objects.running().exists()
    assert worker_gauges.jobs_without_workers() == overview.read().without_workers == 0
