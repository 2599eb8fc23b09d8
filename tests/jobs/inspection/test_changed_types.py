"""Columns whose type or rules their owners change after ``migrate``: one answer on pages, the API, commands and probes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from uuid import UUID

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import DatabaseError
from django.test import Client
from pytest_django import DjangoDbBlocker

from jobs.inspection import blockers, inspect_database
from opsconsole.kit.changed_tables import TablesChanged
from opsconsole.kit.database_troubles import Trouble, headline, trouble_behind
from opsconsole_worker.reports import reporting
from opsconsole_worker.runs import heartbeats, lifecycle
from opsconsole_worker.runs.heartbeats import Worker
from opsconsole_worker.runs.lifecycle import Refused, Run
from tests import databases
from tests.databases import CONTRACT, Database

TOLD = "A table of jobs, heartbeats or requests was changed"
RUNS, WAITS = (f"00000000-0000-4000-8000-00000000000{number}" for number in (1, 2))
ROWS = f"""
INSERT INTO jobs (id, customer_id, package_size, status, started_at, updated_at) VALUES
    ('{RUNS}', 'c-1', 5, 'in_progress', now() - interval '1 day', now() - interval '1 day'),
    ('{WAITS}', 'c-1', 5, 'pending', NULL, now());
INSERT INTO worker_heartbeats VALUES ('w1', '{RUNS}', now() - interval '1 day');
"""
PAGES = (
    "/admin/",
    "/admin/jobs/job/",
    "/admin/jobs/job/?status=pending",
    "/admin/jobs/job/?q=c-1",
    f"/admin/jobs/job/{RUNS}/change/",
    "/admin/jobs/workerheartbeat/",
    "/admin/jobs/recoverycontrol/",
)


@pytest.fixture(scope="module")
def migrated(django_db_blocker: DjangoDbBlocker) -> Iterator[Database]:
    database = databases.create(settings.DATABASES["default"])
    database.sql(CONTRACT + ROWS)
    database.migrate()
    with django_db_blocker.unblock(), database.as_default():
        get_user_model().objects.create_superuser("ada", "", "x")
    yield database
    databases.drop(database)


@pytest.fixture
def attached(migrated: Database, django_db_blocker: DjangoDbBlocker) -> Iterator[Database]:
    copied = databases.copy(migrated)
    with django_db_blocker.unblock():
        yield copied
    databases.drop(copied)


def retyped(column: str, kind: str, using: str = "", table: str = "jobs") -> str:
    """Return the SQL that changes the type of a column and drops its default."""
    change = f"ALTER {column} TYPE {kind} USING {using or f'{column}::{kind}'}"
    return f"ALTER TABLE {table} ALTER {column} DROP DEFAULT, {change}"


def replaced(column: str, kind: str, table: str = "jobs") -> str:
    """Return the SQL that puts another column in the place of this one, whose indexes go along with the old one."""
    return f"ALTER TABLE {table} RENAME {column} TO old_{column}; ALTER TABLE {table} ADD {column} {kind}"


BEATS = "worker_heartbeats"
UNFIT = [
    (retyped("id", "text"), "jobs.id: its type is text. Wanted: uuid."),
    (replaced("status", "smallint DEFAULT 1"), "jobs.status: its type is smallint."),
    (replaced("status", "jsonb DEFAULT '1'"), "jobs.status: its type is jsonb."),
    (
        replaced("status", "varchar(5) NOT NULL DEFAULT ''"),
        "jobs.status: its type character varying(5) does not have 'pending'",
    ),
    (retyped("error_message", "jsonb", "to_jsonb(error_message)"), "jobs.error_message: its type is jsonb."),
    (retyped("error_message", "varchar(5)"), "jobs.error_message: its type is character varying(5)"),
    (
        "UPDATE jobs SET error_message = ''; ALTER TABLE jobs ALTER error_message SET NOT NULL",
        "it refuses NULL",
    ),
    (retyped("created_at", "text"), "jobs.created_at: its type is text."),
    (retyped("created_at", "bigint", "1"), "jobs.created_at: its type is bigint."),
    # An index of the console holds it together with another time, so that PostgreSQL refuses to change its type.
    (replaced("updated_at", "text"), "jobs.updated_at: its type is text."),
    (retyped("started_at", "bigint", "1"), "jobs.started_at: its type is bigint."),
    (retyped("started_at", "text"), "jobs.started_at: its type is text."),
    (retyped("payload", "text"), "jobs.payload: its type is text."),
    (retyped("worker_id", "uuid", "NULL"), "jobs.worker_id: its type is uuid."),
    (
        "ALTER TABLE jobs DROP updated_at, ADD updated_at timestamptz GENERATED ALWAYS AS (created_at) STORED",
        "jobs.updated_at: it is generated from other columns",
    ),
    (
        "ALTER TABLE jobs RENAME TO kept; CREATE VIEW jobs AS SELECT DISTINCT * FROM kept",
        "public.jobs is a view",
    ),
    (retyped("current_job_id", "text", table=BEATS), "worker_heartbeats.current_job_id: its type is text."),
    (retyped("last_heartbeat", "text", table=BEATS), "worker_heartbeats.last_heartbeat: its type is text."),
    (
        retyped("last_heartbeat", "bigint", "1", BEATS),
        "worker_heartbeats.last_heartbeat: its type is bigint.",
    ),
    (retyped("worker_id", "int", "1", BEATS), "worker_heartbeats.worker_id: its type is integer."),
    (retyped("metadata", "text", table=BEATS), "worker_heartbeats.metadata: its type is text."),
]


@pytest.mark.parametrize(("change", "sentence"), UNFIT, ids=[sentence for _, sentence in UNFIT])
def test_unfit_column_is_named_wherever_it_is_in_the_way(
    attached: Database, change: str, sentence: str
) -> None:
    attached.sql(change)

    with attached.as_default():
        assert sentence in " ".join(finding.sentence for finding in blockers(inspect_database()))
        ready = Client().get("/readyz")
        assert (ready.status_code, ready.json()["checks"]["database"]) == (503, "tables changed")
        client = Client(raise_request_exception=False)
        client.force_login(get_user_model().objects.get())
        answers = [client.get(path, follow=True) for path in PAGES]
        for answer in answers:
            assert answer.status_code in {200, 503}, answer.request["PATH_INFO"]
            if answer.status_code == 503:
                text = answer.content.decode()
                assert TOLD in text and sentence.partition(":")[0] in text and "inspect_database" in text
        listed = client.get("/api/queue/c-1")
        assert listed.status_code in {200, 503}
        if listed.status_code == 503:
            assert listed.json()["reason"] == "tables_changed" and sentence in listed.json()["detail"]
        for error in errors_of_a_worker():
            assert trouble_behind(error) is Trouble.TABLES_CHANGED, error
            assert sentence.rstrip(".") in headline(Trouble.TABLES_CHANGED)


def errors_of_a_worker() -> Iterator[DatabaseError]:
    """Do what a worker does with a run, and yield what the database says against it."""
    worker = Worker("w9")
    run = Run(UUID(WAITS), 1, worker)
    for step in (
        lambda: heartbeats.say(worker),
        lambda: lifecycle.claim(run.job_id, run.epoch, worker),
        lambda: heartbeats.beat(worker, run.job_id, run.epoch),
        lambda: lifecycle.complete(run),
    ):
        try:
            step()
        except DatabaseError as error:
            yield error


@pytest.mark.parametrize(
    "change", [retyped("started_at", "text"), retyped("last_heartbeat", "bigint", "1", BEATS)]
)
def test_commands_end_with_a_sentence(attached: Database, change: str) -> None:
    attached.sql(change)
    for command, told, code in (
        (["recover_stale_jobs"], TOLD, 3),
        (["recover_stale_jobs", "--dry-run"], TOLD, 3),
        (["find_stale_jobs"], TOLD, 3),
        (["check", "--database", "default"], "its type is", 1),
        (["inspect_database"], "its type is", 1),
        (["verify", "--only", "database"], "its type is", 1),
    ):
        done = attached.manage(*command)
        assert done.returncode == code and "Traceback" not in done.stderr, (command, done.stderr)
        assert told in done.stdout + done.stderr, command


@pytest.mark.parametrize(
    "change",
    [
        retyped("customer_id", "int", "1"),
        retyped("customer_id", "uuid", "gen_random_uuid()"),
        "ALTER TABLE jobs ALTER run_epoch TYPE bigint, ALTER package_size TYPE smallint, ALTER customer_id TYPE varchar(50)",
        "CREATE TYPE word AS ENUM ('pending', 'in_progress', 'completed', 'failed', 'cancelled', 'quarantined');"
        + replaced("status", "word NOT NULL DEFAULT 'pending'"),
    ],
)
def test_everything_works_on_after_a_harmless_change(attached: Database, change: str) -> None:
    attached.sql(change)

    with attached.as_default():
        assert not blockers(inspect_database())
        assert Client().get("/readyz").json()["checks"]["database"] == "ok"
        client = Client()
        client.force_login(get_user_model().objects.get())
        assert {client.get(path, follow=True).status_code for path in PAGES} == {200}
        assert not list(errors_of_a_worker())
    assert attached.value("SELECT status::text FROM jobs WHERE id = %s", [WAITS]) == "completed"
    assert json.loads(attached.manage("recover_stale_jobs", "--json").stdout)


def test_worker_receives_no_message_while_its_claims_fail_for_that(attached: Database) -> None:
    attached.sql(retyped("started_at", "text"))
    with attached.as_default():
        reports = reporting.current()
        worker, queue = Worker("w9"), "default"
        reports.idle(worker, queue)
        with pytest.raises(DatabaseError) as failed:
            lifecycle.claim(UUID(WAITS), 1, worker)
        assert trouble_behind(failed.value) is Trouble.TABLES_CHANGED

        with pytest.raises(TablesChanged, match=r"jobs\.started_at: its type is text") as waits:
            reports.idle(worker, queue)
        assert trouble_behind(waits.value) is Trouble.TABLES_CHANGED

        attached.sql(retyped("started_at", "timestamptz"))
        reports.idle(worker, queue)
        claimed = lifecycle.claim(UUID(WAITS), 1, worker)
    assert not isinstance(claimed, Refused)


def test_text_in_the_place_of_a_time_is_no_error_of_the_console(attached: Database) -> None:
    attached.sql(retyped("completed_at", "text"))
    attached.sql("UPDATE jobs SET status = 'completed', completed_at = 'yesterday'")
    with attached.as_default():
        error = AttributeError("'str' object has no attribute 'astimezone'")
        assert trouble_behind(error) is Trouble.TABLES_CHANGED
        attached.sql("ALTER TABLE jobs DROP completed_at, ADD completed_at timestamptz")
        assert trouble_behind(error) is None
