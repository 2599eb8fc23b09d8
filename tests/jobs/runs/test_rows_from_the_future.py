"""Tests of jobs whose rows say that they changed in the future: they are named, never silently left out."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from jobs.models import Job, QueueState
from jobs.operations.steps import JobAction
from jobs.operations.verdicts import step_for
from jobs.recovery import outlook, surroundings
from jobs.runs import worker_kinds
from jobs.watch import run_gauges
from tests import factories

pytestmark = pytest.mark.django_db

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture(autouse=True)
def _queue() -> None:
    QueueState.objects.create(name="default", visibility_timeout_seconds=30)


def test_run_whose_row_changed_in_the_future_is_named_and_unknown() -> None:
    dead = factories.run(age=HOUR, silent=HOUR)
    assert not [trait for trait in worker_kinds.traits() if trait.id == "jobs-from-the-future"]
    Job.objects.update(updated_at=Now() + 2 * DAY)
    [trait] = [trait for trait in worker_kinds.traits() if trait.id == "jobs-from-the-future"]
    assert str(dead.pk) in trait.sentence
    assert run_gauges.unknown_runs().value == 1
    [each] = outlook.preview(surroundings.read(), 10)
    assert each.is_unknown and "in the future" in each.sentence


def test_pages_lead_to_the_jobs_which_a_requeue_by_hand_brings_back_to_the_present(operator: Client) -> None:
    dead = factories.run(age=HOUR, silent=HOUR)
    Job.objects.update(updated_at=Now() + 2 * DAY)
    for page in ("jobs_recoverycontrol", "jobs_workerheartbeat"):
        answer = operator.get(reverse(f"admin:{page}_changelist"))
        assert f'href="/admin/jobs/job/{dead.pk}/change/"' in answer.content.decode()
    step = step_for(JobAction.REQUEUE, Job.objects.with_evidence().get())
    assert step.will


def test_run_that_starts_in_the_future_is_stale() -> None:
    dead = factories.run(age=HOUR, silent=HOUR)
    Job.objects.update(started_at=Now() + 2 * DAY)
    assert Job.objects.stale().get() == dead


def test_waiting_job_whose_row_changed_in_the_future_is_named() -> None:
    made = factories.job(updated_at=Now() + DAY)
    assert str(made.pk) in worker_kinds.traits()[0].sentence


def test_questions_about_the_future_follow_the_indexes() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO jobs (customer_id, package_size, status)"
            " SELECT 'c', 1, (ARRAY['in_progress', 'completed', 'pending'])[1 + number % 3]"
            "   FROM generate_series(1, 20000) AS number"
        )
        cursor.execute("ANALYZE jobs")
    for question in (Job.objects.changed_in_the_future(), Job.objects.silent_at_any_time()):
        plan = question.order_by().explain()
        assert "Seq Scan on jobs" not in plan and "opsconsole_jobs_running_idx" in plan, plan
