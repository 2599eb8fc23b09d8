"""Tests of job operations: operators act on exactly what they saw, and the reason is recorded (I4, I10)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from jobs.models import Job, JobEvent, Outbox, Status
from jobs.operations import job_operations
from jobs.operations.steps import JobAction, OperationRefused, Outcome, Step
from jobs.runs.timeline import Actor
from opsconsole_worker.environment import QueueConfig
from opsconsole_worker.runs import heartbeats, lifecycle
from opsconsole_worker.runs.heartbeats import Verdict, Worker
from opsconsole_worker.runs.lifecycle import Run
from tests.factories import SECOND, beat, job, run

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
OPERATOR = Actor.operator("ada", 7)


def planned(action: JobAction, made: Job) -> Step:
    [step] = job_operations.plan(action, [made.pk])
    return step


def do(action: JobAction, made: Job) -> Outcome:
    [outcome] = job_operations.carry_out([planned(action, made)], OPERATOR, "the customer called")
    return outcome


@pytest.mark.parametrize(
    ("claimed", "late"),
    [
        (True, "Anything the old run still reports will be refused."),
        (False, "if it lives, both runs go on, and what it reports is kept."),
    ],
)
def test_requeue_promises_refusal_of_late_results_only_where_they_are_refused(
    claimed: bool, late: str
) -> None:
    step = planned(JobAction.REQUEUE, run(age=2 * HOUR, silent=HOUR, claimed=claimed))
    assert step.will and step.sentence.endswith(late)


def stale_run() -> Job:
    return run(age=2 * HOUR, silent=HOUR)


MAKERS: dict[str, Any] = {
    "pending": job,
    "alive": lambda: run(age=SECOND, silent=SECOND),
    "stale": stale_run,
    "hung": lambda: run(age=2 * HOUR, silent=SECOND),
    "completed": lambda: job(status=Status.COMPLETED),
    "failed": lambda: job(status=Status.FAILED),
    "quarantined": lambda: job(status=Status.QUARANTINED, recovery_count=3),
    "cancelled": lambda: job(status=Status.CANCELLED),
    "unknown": lambda: job(status="archived"),
}

ALLOWED = {
    JobAction.REQUEUE: {"stale", "hung", "failed", "cancelled"},
    JobAction.CANCEL: {"pending", "alive", "stale", "hung"},
    JobAction.RELEASE: {"quarantined"},
}


@pytest.mark.parametrize("action", JobAction)
@pytest.mark.parametrize("kind", MAKERS)
def test_plan_and_result_agree(action: JobAction, kind: str) -> None:
    made = MAKERS[kind]()
    before = (made.status, made.run_epoch)
    step = planned(action, made)
    outcome = do(action, made)
    assert step.will is outcome.done is (kind in ALLOWED[action])
    assert step.sentence and outcome.sentence
    changed = (Job.objects.get(pk=made.pk).status, Job.objects.get(pk=made.pk).run_epoch) != before
    assert changed is outcome.done


@pytest.mark.parametrize(
    ("action", "kind"),
    [(JobAction.REQUEUE, "failed"), (JobAction.REQUEUE, "stale"), (JobAction.RELEASE, "quarantined")],
)
def test_message_is_only_promised_where_it_can_be_sent(settings: Any, action: JobAction, kind: str) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:9/queue", None)}
    made = MAKERS[kind]()
    assert "Will wait for run 2, and its message will be sent." in planned(action, made).sentence
    Job.objects.update(queue="gone")
    told = planned(action, made).sentence
    assert "Will wait for run 2. Its message will be sent once its queue 'gone' is configured." in told


def test_cancel_promises_notice_only_to_worker_that_beats() -> None:
    alive, stale = MAKERS["alive"](), run(age=2 * HOUR, silent=HOUR, worker="dead")
    old_kind = run(age=SECOND, worker="old", claimed=False)
    told = "Worker worker-1 will be told with its next heartbeat, and its result will be refused."
    assert planned(JobAction.CANCEL, alive).sentence == told
    assert planned(JobAction.CANCEL, stale).sentence == (
        "Its worker no longer sends heartbeats for it. If it does again, it will be told to stop; its result will be refused."
    )
    told = "Its worker cannot be told to stop. If it finishes, its result is kept."
    assert planned(JobAction.CANCEL, old_kind).sentence == told


@pytest.mark.parametrize("make", [stale_run, MAKERS["failed"], MAKERS["cancelled"]])
def test_requeue_raises_the_epoch_and_asks_for_a_message(make: Any) -> None:
    made = make()
    assert do(JobAction.REQUEUE, made).done
    again = Job.objects.get(pk=made.pk)
    assert (again.status, again.run_epoch, again.worker_id) == (Status.PENDING, 2, None)
    message = Outbox.objects.get(job=made)
    assert (message.run_epoch, message.reason, message.retry) == (2, "operator_requeue", True)
    event = JobEvent.objects.get(job=made)
    assert (event.kind, event.actor, event.user_id) == ("requeued", "operator:ada", 7)
    assert event.reason == "the customer called"


def test_release_forgives_the_recoveries() -> None:
    made = MAKERS["quarantined"]()
    assert do(JobAction.RELEASE, made).done
    assert Job.objects.get(pk=made.pk).recovery_count == 0


def test_cancelled_run_is_requeued_only_after_worker_left_it() -> None:
    made = run(age=HOUR, silent=SECOND)
    do(JobAction.CANCEL, made)
    worker = Worker("worker-1")
    assert heartbeats.beat(worker, made.pk, 1) == Verdict.CANCELLED
    assert lifecycle.complete(Run(made.pk, 1, worker)) is False
    beat("worker-1", made.pk, 1)
    step = planned(JobAction.REQUEUE, made)
    assert not step.will and "still sent a heartbeat" in step.sentence
    heartbeats.say(worker)
    assert do(JobAction.REQUEUE, made).done


def test_cancelled_run_is_requeued_when_its_worker_died() -> None:
    made = stale_run()
    do(JobAction.CANCEL, made)
    Job.objects.update(updated_at=Now() - HOUR)
    assert do(JobAction.REQUEUE, made).done


@pytest.mark.parametrize(("age", "said"), [(HOUR / 2, "It runs"), (2 * HOUR, "it looks hung")])
def test_worker_that_beats_after_the_preview_wins(age: timedelta, said: str) -> None:
    made = run(age=age, silent=age)
    step = planned(JobAction.REQUEUE, made)
    beat("worker-1", made.pk, 1)
    [outcome] = job_operations.carry_out([step], OPERATOR, "it looked dead")
    assert not outcome.done and said in outcome.sentence


def test_job_that_changed_after_the_preview_is_skipped_and_says_so() -> None:
    made = MAKERS["failed"]()
    step = planned(JobAction.REQUEUE, made)
    do(JobAction.REQUEUE, made)
    [second] = job_operations.carry_out([step], OPERATOR, "pressed twice")
    assert not second.done and "now waiting, run 2" in second.sentence
    assert Outbox.objects.count() == 1


def test_deleted_job_is_skipped() -> None:
    made = MAKERS["failed"]()
    step = planned(JobAction.REQUEUE, made)
    Job.objects.all().delete()
    [outcome] = job_operations.carry_out([step], OPERATOR, "too late")
    assert not outcome.done and "no longer exists" in outcome.sentence


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_reason_is_required(reason: str) -> None:
    made = MAKERS["failed"]()
    with pytest.raises(OperationRefused, match="Give a reason"):
        job_operations.carry_out([planned(JobAction.REQUEUE, made)], OPERATOR, reason)
    assert Job.objects.get(pk=made.pk).status == Status.FAILED


def test_plan_keeps_the_order_and_leaves_unknown_ids_out() -> None:
    first, second = job(), job()
    steps = job_operations.plan(
        JobAction.CANCEL, [second.pk, first.pk, MAKERS["failed"]().pk.__class__(int=1)]
    )
    assert [step.job_id for step in steps] == [second.pk, first.pk]


@pytest.mark.parametrize("kind", ["failed", "cancelled", "stale"])
def test_query_count_is_independent_of_job_count(kind: str) -> None:
    jobs = [MAKERS[kind]() for _ in range(5)]
    costs = []
    for some in (jobs[:1], jobs[1:]):
        with CaptureQueriesContext(connection) as planning:
            steps = job_operations.plan(JobAction.REQUEUE, [each.pk for each in some])
        with CaptureQueriesContext(connection) as doing:
            outcomes = job_operations.carry_out(steps, OPERATOR, "the customer called")
        assert [outcome.done for outcome in outcomes] == [True] * len(some)
        costs.append((len(planning), len(doing)))
    assert costs[0] == costs[1] and costs[0][0] == 1


def test_cancelled_job_is_decided_by_its_evidence_also_beside_others() -> None:
    """Only what decides about a failed job is read with its lock. A worker that beats for a cancelled run is read, too."""
    failed, cancelled = MAKERS["failed"](), stale_run()
    do(JobAction.CANCEL, cancelled)
    steps = job_operations.plan(JobAction.REQUEUE, [failed.pk, cancelled.pk])
    assert [step.will for step in steps] == [True, True]
    beat("worker-1", cancelled.pk, 1)

    outcomes = job_operations.carry_out(steps, OPERATOR, "the customer called")

    assert [outcome.done for outcome in outcomes] == [True, False]
    assert "Wait until it has stopped" in outcomes[1].sentence


def test_job_refused_by_database_fails_alone() -> None:
    good, bad = MAKERS["failed"](), MAKERS["failed"]()
    with connection.cursor() as cursor:
        cursor.execute(
            "ALTER TABLE jobs ADD CONSTRAINT odd CHECK (package_size <> 13 OR status <> 'pending')"
        )
    Job.objects.filter(pk=bad.pk).update(package_size=13)
    steps = job_operations.plan(JobAction.REQUEUE, [bad.pk, good.pk])
    refused, done = job_operations.carry_out(steps, OPERATOR, "the customer called")
    assert (refused.done, refused.failed, done.done) == (False, True, True)
    assert "The database refused it" in refused.sentence
    assert Outbox.objects.get().job_id == good.pk


@pytest.fixture
def event() -> JobEvent:
    do(JobAction.CANCEL, job())
    return JobEvent.objects.get()


@pytest.mark.parametrize("statement", ["UPDATE job_events SET reason = ''", "DELETE FROM job_events"])
def test_timeline_is_append_only(event: JobEvent, statement: str) -> None:
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        connection.cursor().execute(statement)
    assert JobEvent.objects.get().reason == "the customer called"
