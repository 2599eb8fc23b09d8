"""Tests of changes that a trigger of theirs keeps from a row by returning NULL: told as a refusal, never as done or superseded."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import DatabaseError, connection
from django.test import Client
from django.utils import timezone

from jobs.models import Job, JobEvent, Outbox, Status
from jobs.operations import job_operations, payload_edits
from jobs.operations.steps import JobAction
from jobs.recovery import control, sweeps
from jobs.restores import fencing
from jobs.runs.timeline import Actor
from opsconsole_worker import refusals
from opsconsole_worker.environment import QueueConfig
from opsconsole_worker.runs import lifecycle
from opsconsole_worker.runs.heartbeats import Worker
from opsconsole_worker.runs.lifecycle import Refusal, Refused, Run
from tests import factories
from tests.factories import SECOND
from tests.jobs.bulk.helpers import begun, finish, many
from tests.keys import key, sent

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
ADA, OPERATOR = Worker("ada"), Actor("operator:olga")
RULE = "a trigger that returns NULL, or a row-level policy, of table 'jobs'"
KEEPS = """
CREATE FUNCTION keep_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER keep_it BEFORE UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION keep_it()
"""


def keep() -> None:
    with connection.cursor() as cursor:
        cursor.execute(KEEPS)


def kinds(job: Job) -> list[str]:
    return list(JobEvent.objects.filter(job_id=job.pk).values_list("kind", flat=True))


def row(job: Job) -> tuple[Any, ...]:
    return Job.objects.values_list("status", "run_epoch", "worker_id").get(pk=job.pk)


@pytest.mark.parametrize("past", [None, timedelta(minutes=1)])
def test_kept_claim_is_refused_by_the_database(past: timedelta | None) -> None:
    job = factories.job()
    if past:
        Job.objects.filter(pk=job.pk).update(not_before=job.created_at - past)
    keep()
    for epoch in (1, None):
        refused = lifecycle.claim(job.pk, epoch, ADA)
        assert isinstance(refused, Refused)
        assert refused.refusal is Refusal.REFUSED_BY_DATABASE and not refused.refusal.settled
        assert RULE in refused.sentence and refused.sentence.endswith("Nothing was changed.")
    assert row(job) == ("pending", 1, None)
    assert kinds(job) == ["claim_refused"]


def test_what_is_really_settled_stays_so() -> None:
    running, early = factories.run(silent=SECOND), factories.job(not_before=timezone.now() + HOUR)
    keep()
    told = {lifecycle.claim(each.pk, 1, ADA).refusal for each in (running, early)}  # type: ignore[union-attr]  # refused
    assert told == {Refusal.ALREADY_CLAIMED, Refusal.TOO_EARLY}
    assert not lifecycle.complete(Run(running.pk, 7, ADA))
    assert kinds(running)[-1] == "late_result_rejected"


@pytest.mark.parametrize("retryable", [True, False])
def test_kept_end_of_a_run_is_refused_and_not_thrown_away(retryable: bool) -> None:
    job = factories.job()
    assert not isinstance(lifecycle.claim(job.pk, 1, ADA), Refused)
    before = kinds(job)
    keep()
    run = Run(job.pk, 1, ADA)
    for report in (
        lambda: lifecycle.complete(run, {"orders": 3}),
        lambda: lifecycle.fail(run, "no answer", retryable=retryable),
    ):
        with pytest.raises(DatabaseError) as raised:
            report()
        refusal = refusals.of(raised.value)
        assert refusal and refusal.rule == RULE
    assert row(job) == ("in_progress", 1, "ada")
    assert kinds(job) == before
    assert not Outbox.objects.exists()


def test_kept_run_is_not_given_back_and_that_is_told(client: Client, limiter: None) -> None:
    run = factories.job()
    _, secret = key()
    said = json.dumps({"worker_id": "ada", "run_epoch": 1})
    claimed = client.post(f"/api/jobs/{run.pk}/claim", said, "application/json", headers=sent(secret))
    assert claimed.status_code == 200
    before = kinds(run)
    keep()

    said = json.dumps({"worker_id": "ada"})
    answer = client.post(f"/api/jobs/{run.pk}/give-back", said, "application/json", headers=sent(secret))

    problem = answer.json()
    assert (answer.status_code, problem["reason"]) == (422, "refused_by_database")
    assert RULE in problem["detail"] and problem["detail"].endswith("Nothing was changed.")
    assert (row(run)[0], kinds(run)) == ("in_progress", before)


def test_api_tells_a_worker_that_its_result_is_refused(client: Client, limiter: None) -> None:
    run = factories.run(silent=SECOND)
    keep()
    _, secret = key()
    said = json.dumps({"worker_id": "worker-1", "run_epoch": 1})
    answer = client.post(
        f"/api/jobs/{run.pk}/complete", said, content_type="application/json", headers=sent(secret)
    )
    problem = answer.json()
    assert (answer.status_code, problem["reason"]) == (422, "refused_by_database")
    assert RULE in problem["detail"] and problem["detail"].endswith("Nothing was changed.")


@pytest.mark.parametrize(
    ("action", "status"),
    [
        (JobAction.REQUEUE, Status.FAILED),
        (JobAction.RELEASE, Status.QUARANTINED),
        (JobAction.CANCEL, Status.PENDING),
    ],
)
def test_kept_operation_is_told_as_refused(action: JobAction, status: Status) -> None:
    job = factories.job(status=status)
    keep()
    [outcome] = job_operations.carry_out(job_operations.plan(action, [job.pk]), OPERATOR, "because")
    assert (outcome.done, outcome.failed) == (False, True)
    assert outcome.sentence.startswith("The database refused it, nothing was changed:")
    assert RULE in outcome.sentence
    assert row(job)[:2] == (status, 1)
    assert not kinds(job) and not Outbox.objects.exists()


def test_kept_edit_of_a_payload_is_told_as_refused() -> None:
    job = factories.job()
    seen = payload_edits.look(job.pk)
    assert seen
    keep()
    outcome = payload_edits.carry_out(seen.step, seen.digest, '{"a": 1}', OPERATOR, "because")
    assert (outcome.done, outcome.failed) == (False, True)
    assert RULE in outcome.sentence
    assert not kinds(job)


@pytest.fixture
def kept_and_free(settings: Any) -> tuple[Job, Job]:
    """Create two stale runs, of which a trigger keeps one."""
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:9/q", "http://127.0.0.1:9/d")}
    settings.OPSCONSOLE_MASS_STALE_RUNS = 1_000
    control.arm(OPERATOR, "tests", cutoff=None)
    kept, free = (factories.run(age=2 * HOUR, silent=HOUR) for _ in range(2))
    with connection.cursor() as cursor:
        cursor.execute(KEEPS.replace("FOR EACH ROW", f"FOR EACH ROW WHEN (OLD.id = '{kept.pk}')"))
    return kept, free


def test_sweep_tells_a_kept_run_as_refused_and_recovers_the_others(kept_and_free: tuple[Job, Job]) -> None:
    kept, free = kept_and_free
    swept = sweeps.sweep("test")
    assert (swept.found, swept.requeued) == (2, 1)
    assert swept.details["refused"] == {
        RULE: {"runs": 1, "said": "it left the row as it was, without an error", "jobs": [str(kept.pk)]}
    }
    assert row(kept)[:2] == ("in_progress", 1)
    assert row(free)[:2] == ("pending", 2)


READ_ONLY_FOR_OTHERS = """
CREATE ROLE {role}; GRANT USAGE ON SCHEMA public, opsconsole TO {role};
GRANT ALL ON ALL TABLES IN SCHEMA public, opsconsole TO {role};
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public, opsconsole TO {role};
ALTER TABLE jobs ENABLE ROW LEVEL SECURITY;
CREATE POLICY readable ON jobs FOR SELECT USING (true);
SET LOCAL ROLE {role}
"""


def test_row_that_a_policy_lets_nobody_change_is_refused_and_neither_locked_nor_superseded() -> None:
    waiting, running = factories.job(), factories.job()
    assert not isinstance(lifecycle.claim(running.pk, 1, ADA), Refused)
    seen = payload_edits.look(waiting.pk)
    assert seen
    with connection.cursor() as cursor:
        cursor.execute(READ_ONLY_FOR_OTHERS.format(role=f"kept_out_{uuid4().hex[:8]}"))
    refused = lifecycle.claim(waiting.pk, 1, ADA)
    assert isinstance(refused, Refused) and refused.refusal is Refusal.REFUSED_BY_DATABASE
    with pytest.raises(DatabaseError) as raised:
        lifecycle.complete(Run(running.pk, 1, ADA))
    assert refusals.of(raised.value)
    steps = job_operations.plan(JobAction.CANCEL, [waiting.pk])
    for outcome in (
        *job_operations.carry_out(steps, OPERATOR, "because"),
        payload_edits.carry_out(seen.step, seen.digest, '{"a": 1}', OPERATOR, "because"),
    ):
        assert (outcome.done, outcome.failed) == (False, True)
        assert RULE in outcome.sentence
    with connection.cursor() as cursor:
        cursor.execute("RESET ROLE")
    assert row(waiting) == ("pending", 1, None)


def test_kept_row_is_not_told_as_fenced() -> None:
    job = factories.run(worker="ada")
    keep()

    fenced = fencing.restored(OPERATOR, "a backup was restored")

    assert fenced.locked == 1
    assert fenced.restore.finished_at is None
    assert fenced.restore.fenced_running == 0
    assert row(job)[1] < fenced.restore.fence
    assert "fenced" not in kinds(job)

    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER keep_it ON jobs")
    again = fencing.restored(OPERATOR, "the trigger is gone")
    assert (again.begun, again.locked, again.restore.fenced_running) == (False, 0, 1)
    assert again.restore.finished_at
    assert row(job)[1] == again.restore.fence


def test_bulk_operation_over_kept_jobs_ends_and_says_which_were_refused() -> None:
    kept, free = many(4), many(3, customer_id="free")
    with connection.cursor() as cursor:
        cursor.execute(KEEPS.replace("FOR EACH ROW", "FOR EACH ROW WHEN (OLD.customer_id <> 'free')"))

    ended = finish(begun(kept + free))

    assert (ended.state, ended.done, ended.failed, ended.remaining) == ("ended", 3, 4, 0)
    sentences = set(ended.members.filter(outcome="failed").values_list("sentence", flat=True))
    assert len(sentences) == 1 and RULE in sentences.pop()
    assert {row(each)[:2] for each in kept} == {("failed", 1)}
