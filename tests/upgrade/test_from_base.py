"""The upgrade of a console that an earlier version installed beside other tables, in a database that is open to strangers."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from opsconsole.kit import schema_version
from opsconsole.kit.mapping import CONTRACT_COLUMNS
from tests import dumps
from tests.conftest import TestQueue
from tests.databases import CONTRACT, Database
from tests.supabase import Supabase
from tests.upgrade import smoke
from tests.upgrade.test_migrations import BASE, git
from tests.waiting import wait_until

# Whose a contract table is, an upgrade can't tell: the inspection names it.
THEIRS = ("jobs", "worker_heartbeats", "rate_limit_requests")
ROWS = """
INSERT INTO jobs (customer_id, package_size, status, started_at, updated_at, claimed_epoch, worker_id)
VALUES ('acme', 1, 'in_progress', now() - interval '1 day', now() - interval '1 day', 1, 'w');
INSERT INTO job_events (job_id, run_epoch, kind, actor) SELECT id, 1, 'claimed', 'w' FROM jobs;
INSERT INTO outbox (job_id, run_epoch, queue, available_at) SELECT id, 1, 'default', now() FROM jobs;
"""
COUNTS = "SELECT (SELECT count(*) FROM job_events), (SELECT count(*) FROM outbox), (SELECT count(*) FROM auth_user WHERE is_active)"
# What a worker that uses SQL writes when it takes a job.
CLAIM = (
    "INSERT INTO jobs (customer_id, package_size) VALUES (%(who)s, 1)",
    "INSERT INTO job_events (job_id, run_epoch, kind, actor) VALUES (gen_random_uuid(), 1, 'progress', %(who)s)",
)
WRITTEN = "SELECT (SELECT count(*) FROM jobs WHERE customer_id = %(who)s), count(*) FROM job_events WHERE actor = %(who)s"
PLACE = "SELECT DISTINCT relnamespace::regnamespace::text FROM pg_class WHERE relname ~ '^(auth|job_events|sweeps|django_m)'"


def called(database: Database, *words: str) -> str:
    """Run a command of this version in this process; return what it says."""
    said = io.StringIO()
    with database.as_default():
        call_command(*words, stdout=said)
    return said.getvalue()


def by_earlier_version(
    database: Database, code: Path, *words: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=code,
        env=os.environ | {"DATABASE_URL": database.url()} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


class Writer:
    """A program of others that writes to the console's tables all the time, with a search path of its own."""

    def __init__(self, database: Database, who: str, path: str) -> None:
        self.connection = database.connect()
        self.connection.execute(f"SET search_path = {path}".encode())
        self.who = who
        self.written = 0
        self.errors: Counter[str] = Counter()
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self) -> None:
        while not self.stopped.is_set():
            try:
                with self.connection.transaction():
                    for statement in CLAIM:
                        self.connection.execute(statement, {"who": self.who})
                self.written += 1
            except psycopg.Error as error:
                self.errors[type(error).__name__] += 1
                self.stopped.wait(0.01)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.thread.join(30)
        self.connection.close()


@pytest.fixture
def upgraded(theirs: Database, tmp_path: Path) -> Iterator[Supabase]:
    """Install the console of the commit in BASE, with rows, and migrate with this one."""
    supabase = Supabase(theirs)
    supabase.create()
    # The worker may read every table of the console, without having been named for any.
    theirs.sql(
        f"{CONTRACT} ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA public GRANT SELECT ON TABLES TO {supabase.worker}"
    )
    with tarfile.open(fileobj=io.BytesIO(git("archive", BASE).stdout)) as archive:
        archive.extractall(tmp_path, filter="data")
    user = {
        "DJANGO_SUPERUSER_PASSWORD": "x",
        "DJANGO_SUPERUSER_USERNAME": "ada",
        "DJANGO_SUPERUSER_EMAIL": "a@example.com",
    }
    for words in (["migrate", "-v0"], ["createsuperuser", "--noinput"]):
        done = by_earlier_version(theirs, tmp_path, *words, **user)
        assert done.returncode == 0, done.stderr
    theirs.sql(
        ROWS
        + f"GRANT SELECT, INSERT ON job_events TO {supabase.runtime}, {supabase.worker}, {supabase.reader};"
        + f"GRANT EXECUTE ON FUNCTION find_stale_jobs TO {supabase.reader} WITH GRANT OPTION;"
        + f"GRANT SELECT (job_id) ON outbox TO {supabase.reader};"
        # Later than the installation: nothing was inherited by this role.
        + f"ALTER DEFAULT PRIVILEGES FOR ROLE postgres GRANT ALL ON TABLES TO {supabase.reader};"
        + f"ALTER DEFAULT PRIVILEGES FOR ROLE postgres GRANT EXECUTE ON FUNCTIONS TO {supabase.reader}"
    )
    assert (supabase.strangers["anon"], "auth_user", "UPDATE") in supabase.allowed(
        schema="public", without=THEIRS
    )
    yield supabase
    supabase.drop()


def test_upgrade_closes_the_tables_and_moves_them_when_asked(
    upgraded: Supabase, sqs_queue: TestQueue, tmp_path: Path
) -> None:
    theirs = upgraded.database
    before = theirs.sql(COUNTS)
    _this_version_waits(theirs)

    done = theirs.manage("migrate")

    assert done.returncode == 0, done.stderr
    assert "python manage.py move_tables" in done.stderr
    assert upgraded.allowed(schema="public", without=THEIRS) == []
    _named_grants_stay(upgraded, done.stderr)
    _contract_tables_are_closed(upgraded)
    assert theirs.sql(PLACE) == [("public",)]
    assert theirs.sql(COUNTS) == before == [(1, 1, 1)]
    _works(upgraded, "public")
    _earlier_version_goes_on(theirs, tmp_path, sqs_queue)

    # A transaction of an older process holds a table for a while.
    with theirs.connect() as older:
        older.autocommit = False
        older.execute("SELECT count(*) FROM auth_user")
        releasing = threading.Timer(2, older.rollback)
        releasing.start()
        with Writer(theirs, "old", "public") as old, Writer(theirs, "new", "opsconsole, public") as new:
            moved = called(theirs, "move_tables")
            written = new.written
            wait_until(lambda: old.errors and new.written > written)
        releasing.join()
    _programs_went_on(upgraded, old, new)
    # The role serves only the console, so that ``migrate`` gave it the search path: new connections have it.
    assert by_earlier_version(theirs, tmp_path, "recover_stale_jobs").returncode == 0
    elsewhere = {"DATABASE_URL": theirs.url(search_path="public")}
    swept = by_earlier_version(theirs, tmp_path, "recover_stale_jobs", **elsewhere)
    assert swept.returncode != 0 and "does not exist" in swept.stderr
    assert theirs.sql("SELECT status, run_epoch FROM jobs") == [("in_progress", 1)]
    before = theirs.sql(COUNTS)
    assert (
        f"ALTER ROLE {upgraded.runtime} IN DATABASE {theirs.name} SET search_path = opsconsole, public;"
        in moved
    )
    assert theirs.sql(PLACE) == [("opsconsole",)]
    assert (
        theirs.value("SELECT relnamespace::regnamespace::text FROM pg_class WHERE relname = 'jobs'")
        == "public"
    )
    assert theirs.sql(COUNTS) == before
    # Who was granted something by name keeps it, and can reach it.
    assert theirs.value("SELECT has_table_privilege(%s, 'job_events', 'INSERT')", [upgraded.runtime])
    assert theirs.value("SELECT has_schema_privilege(%s, 'opsconsole', 'USAGE')", [upgraded.runtime])
    assert upgraded.allowed() == []
    _works(upgraded, "opsconsole")
    assert "Nothing was changed" in called(theirs, "move_tables")

    with pytest.raises(CommandError, match="would not find their tables in elsewhere"):
        called(theirs, "move_tables", "--to", "elsewhere")
    called(theirs, "move_tables", "--to", "public")
    assert theirs.sql(PLACE) == [("public",)]
    assert theirs.sql(COUNTS) == before
    _works(upgraded, "public")
    _leaves(theirs)


def _this_version_waits(theirs: Database) -> None:
    """Check that this version is not ready on the earlier schema; ``tests/field`` runs its processes there."""
    schema_version.look_again()
    with theirs.as_default():
        probe = Client().get("/readyz?exclude=sweep&exclude=queue")
        assert (probe.status_code, probe.json()["checks"]["database"]) == (503, "not migrated")
        page = Client().get("/admin/jobs/job/", headers={"host": "localhost"})
        assert page.status_code == 503 and int(page["Retry-After"]) > 0
        with pytest.raises(schema_version.NotMigrated):
            schema_version.require()
    schema_version.look_again()


def _earlier_version_goes_on(theirs: Database, code: Path, queue: TestQueue) -> None:
    """Run the smoke journey of the earlier version's code on the schema of this version: that is how to go back."""
    queues = {"SQS_QUEUE_URL": queue.url, "SQS_DLQ_URL": queue.dlq_url}
    done = by_earlier_version(theirs, code, "shell", "-c", smoke.JOURNEY, **queues)
    assert done.returncode == 0, done.stderr
    assert smoke.DONE in done.stdout
    assert theirs.sql("SELECT status FROM jobs WHERE customer_id = 'smoke'") == [("completed",)]
    theirs.sql("DELETE FROM jobs WHERE customer_id = 'smoke'")


def _leaves(theirs: Database) -> None:
    """Uninstall a console whose first version kept no record of what it changed: contract tables stay."""
    said = called(theirs, "uninstall", "--yes")
    assert "An earlier version attached the console and kept no record." in said
    assert theirs.sql("SELECT customer_id FROM jobs") == [("acme",)]
    left = dumps.schema(theirs)
    assert not [line for line in left if "opsconsole" in line or "find_stale_jobs" in line]
    tables = [line.split()[2] for line in left if line.startswith("CREATE TABLE")]
    assert tables == ["public.jobs", "public.rate_limit_requests", "public.worker_heartbeats"]
    columns = theirs.sql(
        "SELECT attname::text FROM pg_attribute WHERE attrelid = 'jobs'::regclass AND attnum > 0 AND NOT attisdropped"
    )
    assert [name for (name,) in columns] == list(CONTRACT_COLUMNS["jobs"])


def _named_grants_stay(upgraded: Supabase, said: str) -> None:
    """Check that the upgrade takes what nobody was named for, and says what it took and what it left."""
    theirs, worker, reader = upgraded.database, upgraded.worker, upgraded.reader
    may = "SELECT has_table_privilege(%s, %s, 'SELECT'), has_table_privilege(%s, %s, 'INSERT')"
    for role in (worker, reader):
        assert theirs.sql(may, [role, "job_events"] * 2) == [(True, True)], role
        assert theirs.sql(may, [role, "auth_user"] * 2) == [(False, False)], role
    assert theirs.value("SELECT has_column_privilege(%s, 'outbox', 'job_id', 'SELECT')", [reader])
    execute = "SELECT has_function_privilege(%s, 'find_stale_jobs(timestamptz)', %s)"
    assert theirs.value(execute, [reader, "EXECUTE WITH GRANT OPTION"])
    assert not theirs.value(execute, [worker, "EXECUTE"])

    lines = [line.strip() for line in said.splitlines()]
    assert any(line.startswith(f"{worker}: SELECT on ") and "(public.alert" in line for line in lines)
    assert any(line.startswith(f"{upgraded.strangers['anon']}: EXECUTE on ") for line in lines)
    revoked = [line for line in lines if line.startswith("REVOKE ")]
    named = {worker: 1, reader: 3, upgraded.runtime: 1}
    assert Counter(line.removesuffix(" CASCADE;").rpartition(" ")[2] for line in revoked) == named
    with theirs.connect() as session:
        session.autocommit = False
        for statement in revoked:
            session.execute(statement.encode())
        cursor = session.execute(may, [worker, "job_events"] * 2)
        assert cursor.fetchone() == (False, False)
        session.rollback()


def _contract_tables_are_closed(upgraded: Supabase) -> None:
    """Run what the inspection says about the contract tables, which may be somebody's own."""
    theirs = upgraded.database
    found = [finding for finding in theirs.inspect()[1] if finding["id"] == "table-open"]
    assert {finding["subject"] for finding in found} == set(THEIRS)
    for finding in found:
        theirs.sql(finding["action"].partition("; or: ")[0])
    assert not [finding for finding in theirs.inspect()[1] if finding["id"] == "table-open"]
    assert upgraded.allowed(schema="public") == []


def _programs_went_on(upgraded: Supabase, old: Writer, new: Writer) -> None:
    """Check what programs saw that wrote while the tables moved. A transaction is written as a whole, or not at all."""
    theirs = upgraded.database
    assert not new.errors, "it has the search path of this version"
    assert set(old.errors) == {"UndefinedTable"}
    for writer in (old, new):
        assert theirs.sql(WRITTEN, {"who": writer.who}) == [(writer.written, writer.written)]
    theirs.sql("DELETE FROM jobs WHERE customer_id IN ('old', 'new')")


def _works(upgraded: Supabase, schema: str) -> None:
    """Check the processes of this version, and the functions and triggers that name tables."""
    theirs = upgraded.database
    called(theirs, "sync_schedules")
    assert theirs.inspect()[0] == 0
    assert theirs.sql("SELECT customer_id FROM find_stale_jobs(now())") == [("acme",)]
    theirs.sql("SELECT cleanup_rate_limit_requests()")
    last = theirs.value("SELECT max(relname::text) FROM pg_class WHERE relname ~ '^job_events_[0-9_]+$'")
    theirs.sql(f"DROP TABLE {last}; SELECT create_job_event_partitions(3)")
    assert (
        theirs.value("SELECT relnamespace::regnamespace::text FROM pg_class WHERE relname = %s", [last])
        == schema
    )
    version = theirs.value("SELECT version FROM rate_limit_control")
    theirs.sql('UPDATE rate_limit_policies SET "limit" = "limit" + 1')
    assert theirs.value("SELECT version FROM rate_limit_control") == version + 1
