"""Tests of rows with times that PostgreSQL can hold and Python can't: no page and no sweep fails because of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from jobs.models import Job, RecoveryControl, Status, WorkerHeartbeat
from jobs.recovery import sweeps
from jobs.runs import observations
from jobs.runs.restart import restart
from opsconsole.kit.postgresql.timestamps import EARLIEST, LATEST
from opsconsole_worker.environment import QueueConfig
from opsconsole_worker.runs import heartbeats, lifecycle
from opsconsole_worker.runs.lifecycle import Refusal, Refused
from tests.factories import beat, job, run

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


def write(table: str, column: str, value: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {table} SET {column} = %s", [value])


@pytest.fixture(autouse=True)
def _armed(settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:9/1/jobs", None)}
    RecoveryControl.load()
    RecoveryControl.objects.update(mode=RecoveryControl.Mode.ARMED)


@pytest.mark.parametrize(
    ("value", "read"),
    [("infinity", LATEST), ("20000-01-01", LATEST), ("-infinity", EARLIEST), ("0044-03-15 BC", EARLIEST)],
)
def test_time_that_python_cannot_hold_is_read_as_a_far_one(value: str, read: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s::timestamptz", [value])
        assert cursor.fetchone() == (read,)


@pytest.mark.parametrize(
    ("table", "columns"),
    [("jobs", ("completed_at", "not_before", "deadline_at")), ("worker_heartbeats", ("started_at",))],
)
def test_pages_open_and_the_sweep_recovers_the_run(
    operator: Client, table: str, columns: tuple[str, ...]
) -> None:
    stale = run(age=2 * HOUR, silent=HOUR)
    for column in columns:
        write(table, column, "infinity")

    for page in (
        reverse("admin:jobs_job_changelist"),
        reverse("admin:jobs_job_change", args=[stale.pk]),
        reverse("admin:jobs_workerheartbeat_changelist"),
    ):
        assert operator.get(page).status_code == 200, page
    swept = sweeps.sweep("test")

    assert (swept.requeued, swept.errors) == (1, 0)


def test_run_whose_start_python_cannot_hold_is_recovered_beside_others() -> None:
    run(age=2 * HOUR, silent=HOUR)
    run(age=2 * HOUR, silent=HOUR, worker="worker-2")
    write("jobs", "started_at", "-infinity")

    assert sweeps.sweep("test").requeued == 2


@pytest.mark.parametrize("deadline", ["infinity", "2100-01-01"])
@pytest.mark.parametrize("by_hand", [True, False])
def test_deadline_stays_where_the_length_of_the_last_run_is_not_known(
    deadline: str, *, by_hand: bool
) -> None:
    stale = run(age=2 * HOUR, silent=HOUR)
    write("jobs", "started_at", "-infinity")
    write("jobs", "deadline_at", deadline)

    if by_hand:
        restart(Job.objects.all())
    else:
        sweeps.sweep("test")

    with connection.cursor() as cursor:
        cursor.execute("SELECT run_epoch, deadline_at = %s FROM jobs", [deadline])
        assert cursor.fetchone() == (stale.run_epoch + 1, True)


@pytest.mark.parametrize("value", ["infinity", "-infinity"])
def test_infinite_heartbeat_is_one_of_a_wrong_clock(operator: Client, value: str) -> None:
    run(age=2 * HOUR, silent=HOUR, worker="worker-2")
    living = run(age=2 * HOUR)
    beat("worker-1", living.pk, 1)
    observations.look_at_beats()
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE worker_heartbeats SET last_heartbeat = %s WHERE worker_id = 'worker-1'", [value]
        )

    swept = sweeps.sweep("test")
    observations.look_at_beats()

    assert Job.objects.get(pk=living.pk).status == Status.IN_PROGRESS
    assert swept.errors == 0
    assert operator.get(reverse("admin:jobs_workerheartbeat_changelist")).status_code == 200


FIRST, LAST = "4714-11-24 00:00:00+00 BC", "294276-12-31 23:59:59+00"


@pytest.mark.parametrize("value", [FIRST, LAST])
@pytest.mark.parametrize("column", ["started_at", "updated_at", "deadline_at", "created_at", "not_before"])
def test_time_that_postgresql_cannot_calculate_with_stops_neither_pages_nor_sweeps(
    operator: Client, column: str, value: str
) -> None:
    """Next to its first and last time, PostgreSQL refuses to add an hour: 'timestamp out of range'."""
    odd, stale = run(age=2 * HOUR, silent=HOUR, worker="worker-2"), run(age=2 * HOUR, silent=HOUR)
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE jobs SET claimed_epoch = NULL, {column} = %s WHERE id = %s", [value, odd.pk])
        cursor.execute("UPDATE worker_heartbeats SET started_at = %s", [value])
    for query in ({}, {"stale": "hung"}, {"stale": "stale"}, {"sort": "took"}):
        assert operator.get(reverse("admin:jobs_job_changelist"), query).status_code == 200, query
    for page in ("admin:index", "admin:jobs_workerheartbeat_changelist"):
        assert operator.get(reverse(page)).status_code == 200, page
    assert operator.get(reverse("admin:jobs_job_change", args=[odd.pk])).status_code == 200
    observations.look_at_beats()

    assert sweeps.sweep("test").errors == 0
    assert Job.objects.get(pk=stale.pk).run_epoch == 2
    assert restart(Job.objects.filter(pk=odd.pk)) == 1


@pytest.mark.parametrize(("began", "ended"), [("infinity", "infinity"), (FIRST, LAST), (LAST, FIRST)])
def test_longest_runs_are_sorted_whatever_their_times(operator: Client, began: str, ended: str) -> None:
    job(status=Status.COMPLETED)
    write("jobs", "started_at", began)
    write("jobs", "completed_at", ended)
    for query in ({"sort": "took"}, {"sort": "took", "status": "completed"}, {"sort": "running"}):
        assert operator.get(reverse("admin:jobs_job_changelist"), query).status_code == 200, query


@pytest.mark.parametrize(
    "metadata", ["null", "7", "true", '"protocol 2"', '["protocol"]', "[]", '{"protocol": 1}']
)
def test_worker_describes_itself_by_any_json(operator: Client, metadata: str) -> None:
    beat("worker-1", None, None)
    write("worker_heartbeats", "metadata", metadata)
    worker = WorkerHeartbeat.objects.get()
    assert worker.is_of_old_kind is WorkerHeartbeat.objects.without_epochs().exists()
    for page in (
        reverse("admin:jobs_workerheartbeat_changelist"),
        reverse("admin:jobs_workerheartbeat_change", args=["worker-1"]),
    ):
        assert operator.get(page).status_code == 200, page


def test_job_that_never_starts_is_refused_as_too_early() -> None:
    parked = job()
    write("jobs", "not_before", "infinity")

    refused = lifecycle.claim(parked.pk, parked.run_epoch, heartbeats.Worker("worker-1"))

    assert isinstance(refused, Refused)
    assert refused.refusal is Refusal.TOO_EARLY
