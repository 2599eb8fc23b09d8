"""Pages of rows with times that PostgreSQL stores and Python can't hold; for jobs see tests/jobs/test_far_times.py."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test import Client

from jobs.models import JobEvent
from jobs.watch import hourly_counts
from opsconsole import overview
from opsconsole.kit.models import HourlyFigure
from tests import factories

pytestmark = pytest.mark.django_db

ROWS = (
    "INSERT INTO job_events (job_id, kind, actor, at) SELECT id, 'progress', 'x', 'infinity' FROM jobs",
    # The charts of the overview count these.
    (
        "INSERT INTO job_events (job_id, kind, actor, at)"
        " SELECT id, 'completed', 'x', at::timestamptz FROM jobs, unnest('{infinity,20000-01-01}'::text[]) AS at"
    ),
    (
        "INSERT INTO django_q_task (id, name, func, started, stopped, success, attempt_count)"
        " VALUES ('a', 'a', 'a', '-infinity', 'infinity', true, 1)"
    ),
    "INSERT INTO django_q_schedule (name, func, schedule_type, repeats, next_run) VALUES ('x', 'x', 'I', -1, '-infinity')",
    "INSERT INTO django_q_ormq (key, payload, lock) VALUES ('x', 'x', '-infinity')",
)


def test_events_tasks_and_schedules_with_infinite_times_stop_no_page(admin_client: Client) -> None:
    job = factories.job()
    with connection.cursor() as cursor:
        for statement in ROWS:
            cursor.execute(statement)
    overview.memory.clear()
    for page in (
        f"jobs/job/{job.pk}/change/",
        "django_q/success/",
        "django_q/schedule/",
        "django_q/ormq/",
        "",
    ):
        assert admin_client.get(f"/admin/{page}").status_code == 200, page


def test_events_with_infinite_times_stop_no_count() -> None:
    job = factories.job()
    JobEvent.objects.create(job=job, kind="completed", actor="x")
    with connection.cursor() as cursor:
        for statement in ROWS[:2]:
            cursor.execute(statement)

    hourly_counts.count()

    assert HourlyFigure.objects.get(name="jobs completed").value == 1
