"""The upgrade of a console that an earlier version installed beside other tables, in a database that is open to strangers."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from tests.databases import CONTRACT, Database
from tests.supabase import Supabase
from tests.upgrade.test_migrations import BASE, git

# Whose a contract table is, an upgrade can't tell: the inspection names it.
THEIRS = ("jobs", "worker_heartbeats", "rate_limit_requests")
ROWS = """
INSERT INTO jobs (customer_id, package_size, status, started_at, updated_at, claimed_epoch, worker_id)
VALUES ('acme', 1, 'in_progress', now() - interval '1 day', now() - interval '1 day', 1, 'w');
INSERT INTO job_events (job_id, run_epoch, kind, actor) SELECT id, 1, 'claimed', 'w' FROM jobs;
INSERT INTO outbox (job_id, run_epoch, queue, available_at) SELECT id, 1, 'default', now() FROM jobs;
"""
COUNTS = "SELECT (SELECT count(*) FROM job_events), (SELECT count(*) FROM outbox), (SELECT count(*) FROM auth_user)"
PLACE = "SELECT DISTINCT relnamespace::regnamespace::text FROM pg_class WHERE relname ~ '^(auth|job_events|sweeps|django_m)'"


def called(database: Database, *words: str) -> str:
    """Run a command of this version in this process; return what it says."""
    said = io.StringIO()
    with database.as_default():
        call_command(*words, stdout=said)
    return said.getvalue()


@pytest.fixture
def upgraded(theirs: Database, tmp_path: Path) -> Iterator[Supabase]:
    """Install the console of the commit in BASE, with rows, and migrate with this one."""
    supabase = Supabase(theirs)
    supabase.create()
    theirs.sql(CONTRACT)
    with tarfile.open(fileobj=io.BytesIO(git("archive", BASE).stdout)) as archive:
        archive.extractall(tmp_path, filter="data")
    user = {
        "DJANGO_SUPERUSER_PASSWORD": "x",
        "DJANGO_SUPERUSER_USERNAME": "ada",
        "DJANGO_SUPERUSER_EMAIL": "a@example.com",
    }
    for words in (["migrate", "-v0"], ["createsuperuser", "--noinput"]):
        done = subprocess.run(
            [sys.executable, "manage.py", *words],
            cwd=tmp_path,
            env=os.environ | {"DATABASE_URL": theirs.url()} | user,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    theirs.sql(ROWS + f"GRANT SELECT, INSERT ON job_events TO {supabase.runtime}")
    assert (supabase.strangers["anon"], "auth_user", "UPDATE") in supabase.allowed(
        schema="public", without=THEIRS
    )
    yield supabase
    supabase.drop()


def test_upgrade_closes_the_tables_and_moves_them_when_asked(upgraded: Supabase) -> None:
    theirs = upgraded.database
    before = theirs.sql(COUNTS)

    done = theirs.manage("migrate")

    assert done.returncode == 0, done.stderr
    assert "python manage.py move_tables" in done.stderr
    assert upgraded.allowed(schema="public", without=THEIRS) == []
    open_tables = {finding["subject"] for finding in theirs.inspect()[1] if finding["id"] == "table-open"}
    assert open_tables == set(THEIRS)
    assert theirs.sql(PLACE) == [("public",)]
    assert theirs.sql(COUNTS) == before == [(1, 1, 1)]
    _works(upgraded, "public")

    # A transaction of an older process holds a table for a while.
    with theirs.connect() as older:
        older.autocommit = False
        older.execute("SELECT count(*) FROM auth_user")
        releasing = threading.Timer(2, older.rollback)
        releasing.start()
        moved = called(theirs, "move_tables")
        releasing.join()
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
    assert upgraded.allowed(without=THEIRS) == []
    _works(upgraded, "opsconsole")
    assert "Nothing was changed" in called(theirs, "move_tables")

    with pytest.raises(CommandError, match="would not find their tables in elsewhere"):
        called(theirs, "move_tables", "--to", "elsewhere")
    called(theirs, "move_tables", "--to", "public")
    assert theirs.sql(PLACE) == [("public",)]
    assert theirs.sql(COUNTS) == before
    _works(upgraded, "public")


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
