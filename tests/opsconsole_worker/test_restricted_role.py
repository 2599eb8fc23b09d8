"""A worker whose role has the privileges that an earlier version documented: it works on, and says what it lacks."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from django.conf import settings
from django.db import connection

from jobs.models import Job, RunProgress, Status
from jobs.runs.restart import restart
from opsconsole_worker.database import door
from opsconsole_worker.database.direct import DirectDatabase
from opsconsole_worker.runs import lifecycle
from opsconsole_worker.runs.heartbeats import Worker
from opsconsole_worker.runs.running_job import RunningJob
from opsconsole_worker.working.execution import carry_out
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)

ADA, ROLE = Worker("ada"), "worker_of_an_earlier_version"


@pytest.fixture
def restricted() -> Iterator[None]:
    """Let the worker of this process be such a role."""
    usual, at = door.current(), connection.settings_dict
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE {ROLE}")
        cursor.execute(f"GRANT USAGE ON SCHEMA opsconsole TO {ROLE}")
        cursor.execute(f"GRANT SELECT, UPDATE ON jobs TO {ROLE}")
        cursor.execute(f"GRANT SELECT, INSERT ON job_events, outbox TO {ROLE}")
        cursor.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON worker_heartbeats TO {ROLE}")
    address = {"host": "HOST", "port": "PORT", "user": "USER", "password": "PASSWORD", "dbname": "NAME"}
    words = [f"{name}={at[key]}" for name, key in address.items() if at[key]]
    direct = DirectDatabase(" ".join([*words, f"options=-crole={ROLE}"]), settings.OPSCONSOLE_SCHEMA)
    door.use(direct)
    try:
        yield
    finally:
        direct.close()
        door.use(usual)
        with connection.cursor() as cursor:
            cursor.execute(f"DROP OWNED BY {ROLE}")
            cursor.execute(f"DROP ROLE {ROLE}")


def claimed() -> RunningJob:
    job = lifecycle.claim(Job.objects.get().pk, None, ADA)
    assert isinstance(job, RunningJob), job
    return job


def test_worker_without_the_privilege_works_on_and_says_what_it_lacks(
    restricted: None, caplog: pytest.LogCaptureFixture
) -> None:
    made = factories.job()
    RunProgress.objects.create(job_id=made.pk, run_epoch=1, percent=40)
    claimed()
    restart(Job.objects.all())

    with caplog.at_level(logging.WARNING):
        again = claimed()
        carry_out(again, ADA, lambda run: run.progress(50))

    assert (again.epoch, again.last_progress) == (2, None)
    assert Job.objects.get().status == Status.COMPLETED
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warned == [
        "The progress of earlier runs can't be read (docs/workers.md): permission denied for table run_progress",
        f"{made.pk} run 2: its progress can't be kept (docs/workers.md): permission denied for table run_progress",
    ]
