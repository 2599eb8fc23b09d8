"""Tests of the heartbeat that is sent nearly always: its plan is kept, and its commit does not wait for the disk."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction

from jobs.models import WorkerHeartbeat
from opsconsole_worker.database import door
from opsconsole_worker.database.direct import RowLocked
from opsconsole_worker.runs import beat_statements, heartbeats, lifecycle
from opsconsole_worker.runs.heartbeats import Verdict, Worker
from opsconsole_worker.runs.lifecycle import Run
from tests import factories, worker_databases

pytestmark = pytest.mark.django_db(transaction=True)

ADA = Worker("ada")
PLANS = "SELECT generic_plans + custom_plans FROM pg_prepared_statements WHERE statement LIKE '%%worker_heartbeats%%'"
WAITS = "SELECT current_setting('synchronous_commit')"


@pytest.fixture(params=[worker_databases.DJANGO, worker_databases.DIRECT])
def kind(request: pytest.FixtureRequest) -> Iterator[str]:
    with worker_databases.used(request.param):
        yield request.param


@pytest.fixture
def run(kind: str) -> Run:
    job = lifecycle.claim(factories.job().pk, 1, ADA)
    assert not isinstance(job, lifecycle.Refused)
    return Run(job.id, job.epoch, ADA)


def usual(run: Run) -> dict[str, Any]:
    return {"job_id": run.job_id, "epoch": run.epoch} | run.worker.parameters


def session() -> psycopg.Connection[Any]:
    found = door.current().session
    assert isinstance(found, psycopg.Connection)
    return found


def asked(statement: str) -> list[tuple[Any, ...]]:
    return session().execute(statement).fetchall()


def test_plan_is_kept_where_one_session_serves_the_connection(run: Run, kind: str) -> None:
    for _ in range(8):
        assert heartbeats.beat(ADA, run.job_id, run.epoch) is Verdict.GO_ON
    assert asked(PLANS) == ([] if kind == worker_databases.DJANGO else [(8,)])
    # Another process reports under the same id: the whole statement notes it.
    other = Worker("ada", start="again")
    for _ in range(2):
        assert heartbeats.beat(other, run.job_id, run.epoch) is Verdict.GO_ON
    assert WorkerHeartbeat.objects.get().metadata["process"] == "again"
    assert lifecycle.complete(run)
    assert heartbeats.beat(ADA, run.job_id, run.epoch) is Verdict.SUPERSEDED


def test_only_the_heartbeat_does_not_wait_for_the_disk(run: Run) -> None:
    session().execute("SET synchronous_commit = on")
    try:
        # It returns how its commit waits.
        assert door.run_often(beat_statements.USUAL_BEAT, usual(run)) == [("off",)]
        assert asked(WAITS) == [("on",)]
        assert door.run(WAITS, {}) == [[("on",)]]
    finally:
        session().execute("RESET synchronous_commit")


def test_transaction_of_a_caller_waits_for_the_disk_as_before() -> None:
    job = lifecycle.claim(factories.job().pk, 1, ADA)
    assert not isinstance(job, lifecycle.Refused)
    with transaction.atomic(), connection.cursor() as cursor:
        for waits in ("on", "local"):
            cursor.execute(f"SET LOCAL synchronous_commit = {waits}")
            assert door.run_often(beat_statements.USUAL_BEAT, usual(Run(job.id, job.epoch, ADA))) == [
                ("off",)
            ]
            cursor.execute(WAITS)
            assert cursor.fetchall() == [(waits,)]


@pytest.mark.parametrize("kind", [worker_databases.DIRECT], indirect=True)
def test_lost_statement_is_sent_as_text_from_then_on(run: Run) -> None:
    """As behind a pooler that was not recognized."""
    heartbeats.beat(ADA, run.job_id, run.epoch)
    session().pgconn.exec_(b"DEALLOCATE ALL")
    for _ in range(2):
        assert heartbeats.beat(ADA, run.job_id, run.epoch) is Verdict.GO_ON
    assert asked(PLANS) == []


@pytest.mark.parametrize("kind", [worker_databases.DIRECT], indirect=True)
def test_result_that_a_migration_changed_is_read_all_the_same(kind: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE public.theirs (number integer); INSERT INTO public.theirs VALUES (7)")
        assert door.run_often("SELECT * FROM public.theirs", {}) == [(7,)]
        cursor.execute("ALTER TABLE public.theirs ALTER number TYPE text")
        try:
            assert door.run_often("SELECT * FROM public.theirs", {}) == [("7",)]
        finally:
            cursor.execute("DROP TABLE public.theirs")


def test_heartbeat_does_not_wait_for_a_locked_row_for_ever(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with transaction.atomic():
        WorkerHeartbeat.objects.select_for_update().get()
        with worker_databases.used(worker_databases.DIRECT):
            monkeypatch.setattr("opsconsole.kit.row_locks.WAIT", timedelta(milliseconds=50))
            with pytest.raises(RowLocked):
                heartbeats.beat(ADA, run.job_id, run.epoch)


def test_statements_are_sent_in_utf8_whatever_the_default_is(monkeypatch: pytest.MonkeyPatch) -> None:
    # As after ALTER ROLE ... SET client_encoding: statements have characters that Latin-1 lacks, and so have texts.
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    job = factories.job(customer_id="\N{RIGHTWARDS ARROW}")
    with worker_databases.used(worker_databases.DIRECT):
        claimed = lifecycle.claim(job.pk, 1, ADA)
    assert not isinstance(claimed, lifecycle.Refused)
    assert claimed.customer_id == job.customer_id
