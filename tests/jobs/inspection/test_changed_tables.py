"""Tables that their owners change or lock after ``migrate``: what the commands and the pages say."""

from __future__ import annotations

import re
from collections.abc import Callable

import psycopg
import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.test import Client

from tests import databases, dumps
from tests.databases import CONTRACT, Database

PARTITIONED = """
ALTER TABLE jobs RENAME TO jobs_1;
CREATE TABLE jobs (LIKE jobs_1 INCLUDING DEFAULTS) PARTITION BY RANGE (created_at);
ALTER TABLE jobs ATTACH PARTITION jobs_1 DEFAULT
"""
NUMBERED = "ALTER TABLE jobs ADD number serial"
TOLD = "A table of jobs, heartbeats or requests was changed"


@pytest.fixture
def attached(attach: Callable[[str], Database]) -> Database:
    return attach(
        CONTRACT + "INSERT INTO jobs (customer_id, package_size, status) VALUES ('c-1', 5, 'in_progress');"
    )


@pytest.mark.parametrize(
    ("change", "back", "subject"),
    [
        ("RENAME COLUMN status TO state", "RENAME COLUMN state TO status", "jobs.status"),
        ("RENAME COLUMN error_message TO note", "RENAME COLUMN note TO error_message", "jobs.error_message"),
        ("RENAME COLUMN run_epoch TO run", "RENAME COLUMN run TO run_epoch", "jobs.run_epoch"),
        ("RENAME TO old_jobs", None, "jobs"),
    ],
)
def test_column_or_table_that_is_gone_is_named(
    attached: Database, change: str, back: str | None, subject: str
) -> None:
    attached.sql(f"ALTER TABLE jobs {change}")

    code, findings = attached.inspect()
    assert code == 1
    assert subject in {each["subject"] for each in findings if each["severity"] == "blocker"}, findings
    # What looks at stale runs, or answers a customer, reads no errors and goes on.
    needs_no_errors = subject == "jobs.error_message"
    for command, code in (
        (["recover_stale_jobs", "--dry-run"], 0 if needs_no_errors else 3),
        (["migrate", "-v0"], 1),
    ):
        done = attached.manage(*command)
        assert done.returncode == code and "Traceback" not in done.stderr, done.stderr
        assert code == 0 or TOLD in done.stderr or subject in done.stderr, done.stderr
        assert "A part of the change was saved" not in done.stderr, done.stderr
    with attached.as_default():
        user = get_user_model().objects.create_superuser("ada", "", "x")
        client = Client(raise_request_exception=False)
        client.force_login(user)
        for path in ("/admin/jobs/job/", *([] if needs_no_errors else ["/admin/jobs/recoverycontrol/"])):
            page = client.get(path)
            assert page.status_code == 503, path
            assert TOLD in page.content.decode() and "inspect_database" in page.content.decode()
        answer = client.get("/api/queue/c-1")
        if not needs_no_errors:
            assert (answer.status_code, answer.json()["reason"]) == (503, "tables_changed")

        if back:
            attached.sql(f"ALTER TABLE jobs {back}")
            assert client.get("/admin/jobs/job/").status_code == 200
            assert client.get("/api/queue/c-1").status_code == 200


def test_lock_against_everybody_is_named_with_what_ends_it(attached: Database) -> None:
    with psycopg.connect(**attached.server, dbname=attached.name) as other:
        other.execute("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
        told = ""
        for options in ([], ["--propose"]):
            done = attached.manage("inspect_database", *options)
            told = done.stderr
            assert done.returncode == 3, done.stdout
            assert "has locked public.jobs against everybody, for " in told
            assert "Nothing was changed" in told and "A part of the change" not in told
            assert "Its last statement: LOCK TABLE jobs" in told
        [advised] = set(re.findall(r"SELECT pg_terminate_backend\(\d+\);", told))
        attached.sql(advised)
        assert attached.inspect()[0] == 0
        with pytest.raises(psycopg.OperationalError):
            other.execute("SELECT 1")


def test_prepared_transaction_that_locks_a_table_is_named_with_what_ends_it(attached: Database) -> None:
    with attached.connect() as other:
        other.execute(
            "BEGIN; SAVEPOINT a; LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE; DELETE FROM jobs; PREPARE TRANSACTION 'left by o''hara'"
        )

    done = attached.manage("inspect_database")

    assert done.returncode == 3, done.stdout
    named = "The prepared transaction 'left by o'hara' of role postgres has locked public.jobs against everybody, for "
    assert named in done.stderr
    [advised] = re.findall("ROLLBACK PREPARED '.*?';", done.stderr)
    attached.sql(advised)
    assert attached.inspect()[0] == 0


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE jobs RENAME TO old_jobs",
        "CREATE SCHEMA app; ALTER TABLE jobs SET SCHEMA app; ALTER TABLE worker_heartbeats RENAME TO beats",
        "CREATE SCHEMA app; ALTER TABLE jobs SET SCHEMA app; ALTER SEQUENCE app.jobs_number_seq RENAME TO numbers",
        PARTITIONED,
    ],
)
def test_uninstall_finds_a_table_under_its_new_name(theirs: Database, change: str) -> None:
    without = databases.create(settings.DATABASES["default"])
    without.sql(f"{CONTRACT}; {NUMBERED}; {change}")
    wanted = schema_of(without)
    databases.drop(without)
    role = f"runtime_{theirs.name}"
    two_roles = {"user": role, "OPSCONSOLE_OWNER_DATABASE_URL": theirs.url()}
    theirs.sql(
        f'{CONTRACT}; {NUMBERED}; CREATE ROLE "{role}" LOGIN; GRANT USAGE ON SCHEMA public TO "{role}"'
    )
    try:
        theirs.migrate(**two_roles)
        assert theirs.value("SELECT has_table_privilege(%s, 'jobs', 'UPDATE')", [role])
        theirs.sql(change)

        done = theirs.manage("uninstall", "--yes", **two_roles)

        assert done.returncode == 0, done.stderr
        theirs.sql(f'REVOKE USAGE ON SCHEMA public FROM "{role}"')
        assert schema_of(theirs) == wanted
    finally:
        theirs.sql(f'DROP OWNED BY "{role}"; DROP ROLE "{role}"')


def schema_of(database: Database) -> list[str]:
    """Return the dump of the schema without the lines that name the database."""
    return [line for line in dumps.schema(database) if database.name not in line]
