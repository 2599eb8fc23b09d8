"""Tests of jobs whose epoch is the first or the last that an integer holds: shown, and refused in words."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from jobs.models import Job, Status
from jobs.operations import job_operations
from jobs.operations.steps import JobAction
from jobs.recovery import control, sweeps
from jobs.runs.timeline import Actor
from opsconsole.kit.job_pages import job_page
from opsconsole_worker.environment import QueueConfig
from opsconsole_worker.runs import lifecycle
from opsconsole_worker.runs.heartbeats import Worker
from opsconsole_worker.runs.lifecycle import Refusal, Refused, Run
from tests import factories

pytestmark = pytest.mark.django_db

FIRST, LAST = -(2**31), 2**31 - 1
OPERATOR, HOUR = Actor("operator:olga"), timedelta(hours=1)


@pytest.mark.parametrize("epoch", [FIRST, LAST])
@pytest.mark.parametrize("status", [Status.PENDING, Status.IN_PROGRESS, Status.FAILED])
def test_pages_open(admin_client: Client, epoch: int, status: Status) -> None:
    job = factories.job(status=status, run_epoch=epoch)
    for address in ("/admin/jobs/job/", job_page(job.pk)):
        assert admin_client.get(address).status_code == 200


def test_no_run_follows_the_last_one(settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:9/q", "http://127.0.0.1:9/d")}
    settings.OPSCONSOLE_MASS_STALE_RUNS = 1_000
    control.arm(OPERATOR, "tests", cutoff=None)
    failed = factories.job(status=Status.FAILED, run_epoch=LAST)
    stale = factories.run(age=2 * HOUR, silent=HOUR, epoch=LAST)
    [outcome] = job_operations.carry_out(
        job_operations.plan(JobAction.REQUEUE, [failed.pk]), OPERATOR, "because"
    )
    assert (outcome.done, outcome.failed) == (False, True)
    assert outcome.sentence.startswith("The database refused it, nothing was changed:")
    swept = sweeps.sweep("test")
    assert swept.requeued == 0
    assert list(swept.details["refused"]) == ["the type of a column, which the value does not fit"]
    assert set(Job.objects.values_list("pk", "run_epoch")) == {(failed.pk, LAST), (stale.pk, LAST)}


@pytest.mark.parametrize("epoch", [FIRST, LAST])
def test_worker_does_its_run(epoch: int) -> None:
    job = factories.job(run_epoch=epoch)
    claimed = lifecycle.claim(job.pk, epoch, Worker("ada"))
    assert not isinstance(claimed, Refused)
    second = lifecycle.claim(job.pk, epoch, Worker("bob"))
    assert isinstance(second, Refused) and second.refusal is Refusal.ALREADY_CLAIMED
    assert lifecycle.complete(Run(job.pk, epoch, Worker("ada")))
