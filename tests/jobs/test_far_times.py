"""Tests of rows with times that PostgreSQL can hold and Python can't: no page and no sweep fails because of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from jobs.models import Job, RecoveryControl, Status
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


def test_job_that_never_starts_is_refused_as_too_early() -> None:
    parked = job()
    write("jobs", "not_before", "infinity")

    refused = lifecycle.claim(parked.pk, parked.run_epoch, heartbeats.Worker("worker-1"))

    assert isinstance(refused, Refused)
    assert refused.refusal is Refusal.TOO_EARLY
