"""Tests beside open transactions that inserted a row with a foreign key to a job: they hold up nothing (I13)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection, transaction

from jobs.dead_letters import operations as letter_operations
from jobs.letter_ledger.entries import LetterAction
from jobs.models import Job, JobEvent, RecoveryControl, Status
from jobs.operations import job_operations
from jobs.operations.steps import JobAction
from jobs.recovery import control, sweeps
from jobs.runs.timeline import Actor
from opsconsole_worker.environment import QueueConfig
from opsconsole_worker.runs import lifecycle
from opsconsole_worker.runs.heartbeats import Worker
from opsconsole_worker.runs.lifecycle import Run
from tests import factories
from tests.other_sessions import OtherSession, other_session

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)
OPERATOR = Actor.operator("ada", None)
WORKER = Worker("worker-1")


@pytest.fixture(autouse=True)
def submissions(settings: Any) -> Iterator[None]:
    """Create a table of theirs whose rows belong to jobs, and refuse each wait for a lock at once."""
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:9/q", "http://127.0.0.1:9/d")}
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE submissions (job_id uuid NOT NULL REFERENCES jobs (id), line text)")
        cursor.execute("SET lock_timeout = '1s'")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE submissions")
            cursor.execute("RESET lock_timeout")


@pytest.fixture
def other() -> Iterator[OtherSession]:
    with other_session() as session:
        yield session


def add_child(session: OtherSession, job: Job) -> None:
    session.execute("INSERT INTO submissions (job_id) VALUES (%s)", [job.pk])


def stale() -> Job:
    return factories.run(age=2 * HOUR, silent=HOUR)


def living() -> Job:
    return factories.run(age=HOUR / 60, silent=HOUR / 3600)


def test_a_sweep_recovers_the_run_at_once(other: OtherSession) -> None:
    RecoveryControl.objects.get_or_create(pk=1)  # Other tests empty all tables.
    control.arm(OPERATOR, "tests", cutoff=None)
    job = stale()
    add_child(other, job)
    swept = sweeps.sweep("test")
    assert (swept.found, swept.requeued, swept.errors) == (1, 1, 0)


def test_requeue_job_requeues_it(other: OtherSession, capsys: pytest.CaptureFixture[str]) -> None:
    job = stale()
    add_child(other, job)
    call_command("requeue_job", str(job.pk), "--reason", "tests")
    assert "done" in capsys.readouterr().out
    assert Job.objects.get().status == Status.PENDING


def operate(action: JobAction) -> Callable[[Job], Any]:
    def do(job: Job) -> bool:
        steps = job_operations.plan(action, [job.pk])
        return job_operations.carry_out(steps, OPERATOR, "tests")[0].done

    return do


def replay(job: Job) -> bool:
    letter = factories.dead_letter(job)
    steps = letter_operations.plan(LetterAction.REPLAY, [letter.pk])
    return letter_operations.carry_out(steps, OPERATOR, "tests")[0].done


CHANGES: dict[str, tuple[Callable[[], Job], Callable[[Job], Any]]] = {
    "cancel": (living, operate(JobAction.CANCEL)),
    "release": (lambda: factories.job(status=Status.QUARANTINED), operate(JobAction.RELEASE)),
    "replay": (lambda: factories.job(status=Status.FAILED), replay),
    "claim": (
        factories.job,
        lambda job: not isinstance(lifecycle.claim(job.pk, 1, WORKER), lifecycle.Refused),
    ),
    "complete": (living, lambda job: lifecycle.complete(Run(job.pk, 1, WORKER))),
    "fail": (
        living,
        lambda job: lifecycle.fail(Run(job.pk, 1, WORKER), "no answer") == lifecycle.Failure.RETRY,
    ),
    "give back": (living, lambda job: lifecycle.give_back(job.pk, WORKER)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_job_with_an_uncommitted_child_row_changes(other: OtherSession, change: str) -> None:
    make, do = CHANGES[change]
    job = make()
    add_child(other, job)
    assert do(job)


def test_a_handler_notes_what_it_did_before_its_own_transaction_ends(other: OtherSession) -> None:
    job = living()
    add_child(other, job)
    assert lifecycle.note(Run(job.pk, 1, WORKER), "12 of 50 submitted")
    other.commit()
    assert JobEvent.objects.get(kind=JobEvent.Kind.PROGRESS).details["late"] is False


def test_a_child_row_is_inserted_while_the_console_has_locked_the_job(other: OtherSession) -> None:
    job = stale()
    other.execute("SET lock_timeout = '1s'")
    with transaction.atomic():
        assert operate(JobAction.REQUEUE)(job)
        add_child(other, job)
    other.commit()


def test_a_job_is_not_deleted_under_a_sweep(other: OtherSession) -> None:
    """Hold them off where a weaker lock would let them through."""
    job = stale()
    other.execute("SET lock_timeout = '200ms'")
    with transaction.atomic(), pytest.raises(psycopg.errors.LockNotAvailable):
        assert operate(JobAction.CANCEL)(job)
        other.execute("DELETE FROM jobs WHERE id = %s", [job.pk])
