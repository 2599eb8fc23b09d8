"""Tests of the console on 60,000 old rows: it sends nothing, and armed recovers only newer runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from jobs.messaging.dispatcher import dispatch
from jobs.models import Job, JobEvent, Outbox, QueueState, RecoveryControl, Sweep
from jobs.recovery import control, sweeps
from jobs.runs.timeline import Actor
from opsconsole import overview, timeouts
from opsconsole_worker import sqs
from opsconsole_worker.environment import QueueConfig
from tests import people
from tests.databases import CONTRACT, Database
from tests.fakes.sqs import FakeSqs
from tests.sending import send, versions_on

ROWS = 60_000
URL = "https://sqs.fake/000000000000/jobs"
CUTOFF_MINUTES = 90
# Row i is i minutes old. Every fifth row has the same status.
FILL = f"""
INSERT INTO jobs (customer_id, package_size, status, created_at, updated_at, started_at)
SELECT 'customer-' || i % 977, i, (ARRAY['completed', 'failed', 'in_progress', 'pending', 'archived'])[1 + i % 5],
       now() - i * interval '1 minute', now() - i * interval '1 minute',
       CASE WHEN i % 5 <> 3 THEN now() - i * interval '1 minute' END
  FROM generate_series(1, {ROWS}) AS i;
INSERT INTO worker_heartbeats (worker_id, current_job_id, last_heartbeat)
SELECT 'worker-' || package_size, id, now() - interval '2 days' FROM jobs
 WHERE status = 'in_progress' AND package_size > 10000 LIMIT 50;
ANALYZE jobs
"""
# Started 12, 17, ... 87 minutes ago: stale, newer than the cutoff, too few for mass staleness.
NEWER_STALE = {f"in_progress {minutes}" for minutes in range(12, CUTOFF_MINUTES, 5)}
# Created 33, 38, ... 88 minutes ago: pending for more than half an hour while the queue is empty.
NEWER_LOST = {f"pending {minutes}" for minutes in range(33, CUTOFF_MINUTES, 5)}
OLDER = (
    "SELECT count(*), md5(string_agg(md5(jobs::text), '' ORDER BY id)) FROM jobs"
    f" WHERE package_size > {CUTOFF_MINUTES}"
)


@pytest.fixture
def fake(settings: Any, monkeypatch: pytest.MonkeyPatch) -> FakeSqs:
    account = FakeSqs()
    account.create(URL)
    settings.QUEUES = {"default": QueueConfig("default", URL, None)}
    monkeypatch.setattr(sqs, "client_for", account.client_for)
    return account


@pytest.fixture
def attached(theirs: Database, fake: FakeSqs) -> Iterator[Database]:
    """Create a database with plain SQL, migrate it, and make it this thread's default."""
    theirs.sql(CONTRACT + FILL)
    theirs.migrate()
    with theirs.as_default():
        QueueState.objects.create(
            name="default",
            visible=0,
            in_flight=0,
            delayed=0,
            visibility_timeout_seconds=300,
            read_at=Now(),
        )
        yield theirs
    overview.memory.clear()


@pytest.fixture
def operator(attached: Database) -> Iterator[Client]:
    """Sign in an operator. As in a process that serves pages, a statement beyond the time limit is answered with 503."""
    client = Client()
    client.force_login(people.operator())
    with connection.execute_wrapper(timeouts._limited):
        yield client


def read(client: Client, path: str, **query: str) -> str:
    """Return the text of a page."""
    overview.memory.clear()
    response = client.get(f"{path}?{urlencode(query)}", follow=True)
    assert response.status_code == 200, path
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def page_of(client: Client, minutes: int) -> str:
    """Return the page of the job that is this many minutes old."""
    pk = Job.objects.get(package_size=minutes).pk
    return read(client, reverse("admin:jobs_job_change", args=[pk]))


def listed(client: Client, **query: str) -> list[int]:
    """Return the ages in minutes of the jobs on the first page of the job list."""
    response = client.get(reverse("admin:jobs_job_changelist"), query)
    assert response.status_code == 200
    return [job.package_size for job in response.context["cl"].result_list]


def touched() -> set[str]:
    """Return the status and number of each job that has an outbox message."""
    numbers = Job.objects.filter(pk__in=Outbox.objects.values("job_id")).values_list(
        "package_size", flat=True
    )
    names = {2: "in_progress", 3: "pending"}
    return {f"{names[int(number) % 5]} {number}" for number in numbers}


def arm_with_a_cutoff(client: Client) -> None:
    """Arm recovery as an operator does: preview, reason, confirmation."""
    # The cutoff is rounded down to the minute and must stay after the row that is 90 minutes old.
    since = f"{timezone.now() - timedelta(minutes=CUTOFF_MINUTES - 1):%Y-%m-%dT%H:%M}"
    page = reverse("admin:jobs_recoverycontrol_changelist")
    entries = {"decision": "preview", "arm-scope": "since", "arm-since": since, "arm-reason": "looked"}
    previewed = send(client, page, entries)
    assert not RecoveryControl.load().armed
    assert not Outbox.objects.exists()
    signed = {"decision": "arm", "signed": previewed.context["signed"]}
    client.post(page, signed | versions_on(previewed))
    assert RecoveryControl.load().armed


def test_large_old_database_is_shown_and_only_newer_runs_are_requeued(
    operator: Client, attached: Database, fake: FakeSqs
) -> None:
    older = attached.sql(OLDER)

    # Of the runs, only 50 were ever named by a heartbeat. Whether the others are alive is unknown until a rule gives them up.
    assert sweeps.sweep("test").found == 50
    assert "10,000+ runs are silent, and whether the worker is alive is unknown." in read(
        operator, reverse("admin:index")
    )
    overview.memory.clear()
    control.give_up_unknown_runs(Actor.operator("ada", None), "SQS delivers it again by then", after=None)

    # Nothing is sent before recovery is armed.
    for _ in range(2):
        swept = sweeps.sweep("test")
        assert (swept.mode, swept.requeued, swept.resent) == (Sweep.Mode.OBSERVE, 0, 0)
        assert swept.found == ROWS // 5 - 2
        assert dispatch().taken == 0
    assert not Outbox.objects.exists()
    assert not JobEvent.objects.exists()
    assert fake.bodies(URL) == []

    check_pages_while_observing(operator)
    arm_with_a_cutoff(operator)
    swept = sweeps.sweep("test")

    # Only newer runs are requeued, and only newer messages resent.
    assert (swept.mode, swept.requeued, swept.resent) == (Sweep.Mode.ARMED, len(NEWER_STALE), len(NEWER_LOST))
    assert (swept.quarantined, swept.errors) == (0, 0)
    assert touched() == NEWER_STALE | NEWER_LOST
    assert dispatch().sent == len(fake.bodies(URL)) == len(NEWER_STALE | NEWER_LOST)
    assert sweeps.sweep("test").requeued == 0
    assert attached.sql(OLDER) == older
    check_pages_once_armed(operator)


def check_pages_while_observing(client: Client) -> None:
    front = read(client, reverse("admin:index"))
    assert "Recovery only observes: 10,000+ runs lost their worker." in front
    assert "10,000+ jobs waiting for a lost message. Recovery only observes" in front
    assert listed(client)[:3] == [1, 2, 3]
    assert listed(client, status="in_progress")[:3] == [2, 7, 12]
    assert listed(client, status="other")[:2] == [4, 9]
    assert listed(client, stale="any")[:2] == [12, 17]
    assert listed(client, stale="dead_worker")[0] > 10_000
    assert listed(client, stale="unknown")[:2] == [12, 17]
    assert listed(client, stale="never_beat") == []
    assert listed(client, message="lost")[:2] == [33, 38]
    assert listed(client, message="used_up") == []
    # The rows have grown older since they were written.
    assert 7 * 24 * 60 - 5 <= listed(client, age="older")[0] <= 7 * 24 * 60
    assert listed(client, q="customer-7")[:2] == [7, 984]
    old = page_of(client, 50_002)
    assert "No heartbeat names this run" in old and "It is given up by the rule for unknown runs." in old
    assert "Recovery only observes: sweeps change nothing until somebody arms it." in old
    assert "No events yet. The job is older than the console’s timeline." in old
    assert "Its message is lost" in page_of(client, 50_003)
    assert "archived" in page_of(client, 50_004)
    assert "Recovery only observes." in read(client, reverse("admin:jobs_recoverycontrol_changelist"))
    assert "worker-" in read(client, reverse("admin:jobs_workerheartbeat_changelist"))
    assert "Observe" in read(client, reverse("admin:jobs_sweep_changelist"))
    assert read(client, reverse("admin:jobs_outbox_changelist"))


def check_pages_once_armed(client: Client) -> None:
    assert "It began before the cutoff" in page_of(client, 50_002)
    assert "It has been waiting since before the cutoff" in page_of(client, 50_003)
    recovered = page_of(client, 12)
    assert "Recovered" in recovered and "Message sent" in recovered
    front = read(client, reverse("admin:index"))
    assert "Recovery only observes" not in front
    assert "10,000+ runs from before the cutoff are stale. No sweep recovers them." in front
    assert "lost their worker" not in front
