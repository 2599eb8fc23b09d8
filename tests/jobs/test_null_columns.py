"""Tests of jobs whose customer, package size and priority are null, as the columns of an existing table allow."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.urls import reverse

from jobs.bulk import job_actions
from jobs.messaging import leases
from jobs.models import Job, Status
from jobs.recovery import control
from jobs.runs.timeline import Actor
from jobs.watch import run_gauges
from opsconsole_worker.environment import QueueConfig
from ratelimits.keys import api_keys
from tests import factories
from tests.keys import key, sent

HOUR = timedelta(hours=1)
NULLS = {"customer_id": None, "package_size": None, "priority_level": None}


@pytest.fixture(autouse=True)
def _nullable(db: None, settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:9/queue", None)}
    api_keys.clear_cache()
    with connection.cursor() as cursor:
        for name in NULLS:
            cursor.execute(f"ALTER TABLE jobs ALTER COLUMN {name} DROP NOT NULL")


def null(made: Job) -> Job:
    Job.objects.filter(pk=made.pk).update(**NULLS)
    return Job.objects.get(pk=made.pk)


def test_claim_through_the_api_returns_null(client: Client) -> None:
    made = null(factories.job())

    answer = client.post(
        f"/api/jobs/{made.pk}/claim",
        json.dumps({"worker_id": "node-1", "run_epoch": 1}),
        content_type="application/json",
        headers=sent(key(scopes=["worker"])[1]),
    )

    assert answer.status_code == 200, answer.content
    told = answer.json()
    assert (told["customer_id"], told["package_size"], told["priority"]) == (None, None, None)


def test_message_carries_null() -> None:
    made = null(factories.job())
    factories.letter(made)

    [letter] = leases.take(10).letters

    body = json.loads(letter.message.to_body())
    assert (body["customer_id"], body["package_size"], body["priority"]) == (None, None, None)


@pytest.mark.parametrize("command", [["find_stale_jobs"], ["recover_stale_jobs", "--dry-run"]])
def test_commands_list_the_run(command: list[str]) -> None:
    control.arm(Actor("test"), "tests", cutoff=None)
    made = null(factories.run(age=2 * HOUR, silent=HOUR))
    out = StringIO()

    call_command(*command, stdout=out)

    assert str(made.pk) in out.getvalue()
    assert "None" not in out.getvalue()


def test_pages_say_unknown(operator: Client) -> None:
    control.arm(Actor("test"), "tests", cutoff=None)
    made = null(factories.run(age=2 * HOUR, silent=HOUR))
    for page in (reverse("admin:jobs_job_change", args=[made.pk]), reverse("admin:jobs_job_changelist")):
        response = operator.get(page)
        assert response.status_code == 200, page
        assert "unknown" in response.content.decode()
        assert ">None" not in response.content.decode()


def test_lists_for_people_name_the_unknown_customer() -> None:
    made = null(factories.job(status=Status.QUARANTINED))

    assert job_actions._customers([str(made.pk)]) == {str(made.pk): "unknown customer"}
    named = f"unknown customer: job {made.pk}, queue {made.queue}"
    assert run_gauges.quarantined_jobs().words.facts == (("Newest", named),)
