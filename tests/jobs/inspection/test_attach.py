"""Tests of ``migrate`` on databases that other applications created, filled and keep using."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Self

import pytest

from tests.databases import CONTRACT, Database

ROWS = 200_000
# Ten times the lock_timeout: less than waiting for as long as a migration takes on a busy machine.
LONGEST_WAIT_SECONDS = 20.0

THEIR_OWN = """
ALTER TABLE jobs ADD COLUMN business_name text, ADD COLUMN logo bytea, ADD COLUMN score numeric DEFAULT 1.5;
CREATE TABLE audit (job_id uuid, at timestamptz DEFAULT now());
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN NEW.updated_at := now(); RETURN NEW; END $$;
CREATE TRIGGER jobs_touch BEFORE UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION touch();
CREATE INDEX jobs_status_idx ON jobs (status);
CREATE VIEW open_jobs AS SELECT id, business_name, status FROM jobs WHERE status <> 'completed';
"""
FILL = f"""
INSERT INTO jobs (customer_id, package_size, status, created_at, updated_at, started_at, business_name, logo)
SELECT 'customer-' || i % 977, 50, (ARRAY['completed', 'failed', 'in_progress', 'pending', 'archived'])[1 + i % 5],
       now() - i * interval '1 minute', now() - i * interval '1 minute', now() - i * interval '1 minute',
       'Business ' || i, decode(md5(i::text), 'hex')
  FROM generate_series(1, {ROWS}) AS i;
INSERT INTO worker_heartbeats (worker_id, current_job_id, last_heartbeat)
SELECT 'worker-' || row_number() OVER (), id, now() - interval '1 day' FROM jobs WHERE status = 'in_progress' LIMIT 50;
"""
THEIR_COLUMNS = (
    "id, customer_id, package_size, priority_level, status, error_message, created_at, updated_at, started_at, "
    "completed_at, business_name, logo, score"
)
CHECKSUM = f"""
SELECT count(*), md5(string_agg(md5(theirs::text), '' ORDER BY id)) FROM (SELECT {THEIR_COLUMNS} FROM jobs) AS theirs
"""
THEIR_OBJECTS = """
SELECT 'trigger ' || tgname FROM pg_trigger WHERE tgname = 'jobs_touch'
UNION ALL SELECT pg_get_indexdef('jobs_status_idx'::regclass)
UNION ALL SELECT pg_get_viewdef('open_jobs'::regclass)
UNION ALL SELECT pg_get_indexdef('jobs_pkey'::regclass) ORDER BY 1
"""
SHAPE = """
SELECT table_name, column_name, data_type, column_default, is_nullable FROM information_schema.columns
 WHERE table_schema = 'public' UNION ALL
SELECT tablename, indexname, indexdef, NULL, NULL FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1, 2
"""


def insert_bare(database: Database) -> None:
    database.sql("INSERT INTO jobs (customer_id, package_size) VALUES ('acme', 50)")


class Producer:
    """Another application, which inserts and updates jobs continuously and records its longest wait."""

    def __init__(self, database: Database) -> None:
        self.connection = database.connect()
        self.stopped = threading.Event()
        self.longest = 0.0
        self.inserted = 0
        self.errors: list[BaseException] = []
        self.thread = threading.Thread(target=self.run)

    def run(self) -> None:
        try:
            while not self.stopped.is_set():
                began = time.monotonic()
                with self.connection.transaction():
                    row = self.connection.execute(
                        "INSERT INTO jobs (customer_id, package_size) VALUES ('producer', 1) RETURNING id"
                    ).fetchone()
                    self.connection.execute("UPDATE jobs SET status = 'completed' WHERE id = %s", row)
                self.longest = max(self.longest, time.monotonic() - began)
                self.inserted += 1
        except BaseException as error:  # noqa: BLE001 - the test fails on any recorded error
            self.errors.append(error)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.thread.join(30)
        self.connection.close()


def test_migrate_on_large_live_database_loses_nothing(theirs: Database) -> None:
    theirs.sql(CONTRACT + THEIR_OWN + FILL)
    before, objects = theirs.sql(CHECKSUM), theirs.sql(THEIR_OBJECTS)
    insert_bare(theirs)

    with Producer(theirs) as producer:
        theirs.migrate()

    assert not producer.errors
    assert producer.inserted > 10
    assert producer.longest < LONGEST_WAIT_SECONDS
    insert_bare(theirs)
    assert theirs.value("SELECT count(*) FROM jobs WHERE customer_id = 'acme'") == 2
    theirs.sql("DELETE FROM jobs WHERE customer_id IN ('acme', 'producer')")
    assert theirs.sql(CHECKSUM) == before
    assert theirs.sql(THEIR_OBJECTS) == objects
    assert theirs.sql("SELECT DISTINCT run_epoch, queue, claimed_epoch, payload FROM jobs") == [
        (1, "default", None, {})
    ]
    assert theirs.sql("SELECT mode, cutoff FROM recovery_control") == [("observe", None)]


def test_migrate_rewrites_no_table_and_repeats_harmlessly(theirs: Database) -> None:
    theirs.sql(CONTRACT + THEIR_OWN)
    insert_bare(theirs)
    file = theirs.value("SELECT pg_relation_filenode('jobs')")
    theirs.migrate()
    assert theirs.value("SELECT pg_relation_filenode('jobs')") == file
    shape = theirs.sql(SHAPE)

    theirs.migrate()
    assert theirs.manage("migrate", "jobs", "zero").returncode == 0
    theirs.migrate()

    assert theirs.sql(SHAPE) == shape


def test_half_built_index_is_rebuilt(attach: Callable[[str], Database]) -> None:
    theirs = attach(CONTRACT)
    assert theirs.manage("migrate", "jobs", "0001").returncode == 0
    broken = "SELECT indexrelid, indisvalid FROM pg_index WHERE indexrelid = 'opsconsole_jobs_running_idx'::regclass"
    theirs.sql(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'opsconsole_jobs_running_idx'::regclass"
    )
    [(before, _)] = theirs.sql(broken)

    theirs.migrate()

    [(after, valid)] = theirs.sql(broken)
    assert valid
    assert after != before


def test_reverse_migrations_keep_foreign_tables_unchanged(theirs: Database) -> None:
    theirs.sql(CONTRACT + THEIR_OWN + FILL.replace(str(ROWS), "1000"))
    before, objects = theirs.sql(CHECKSUM), theirs.sql(THEIR_OBJECTS)
    theirs.migrate()

    done = theirs.manage("migrate", "jobs", "zero")
    again = theirs.manage("migrate", "ratelimits", "zero")

    assert (done.returncode, again.returncode) == (0, 0), done.stderr + again.stderr
    assert theirs.sql(CHECKSUM) == before
    assert theirs.sql(THEIR_OBJECTS) == objects
    assert theirs.value("SELECT count(*) FROM worker_heartbeats") == 50
    assert theirs.value("SELECT to_regclass('rate_limit_requests') IS NOT NULL")
    insert_bare(theirs)
    theirs.migrate()


def test_migrate_does_not_block_others_behind_long_transaction(theirs: Database) -> None:
    """Check that others can write between migrate's attempts to lock a table held by a long transaction."""
    theirs.sql(CONTRACT)
    insert_bare(theirs)
    failed_tries = (
        "SELECT count(*) FROM pg_locks WHERE relation = 'jobs'::regclass AND NOT granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    with theirs.connect() as holder, Producer(theirs) as producer:
        holder.autocommit = False
        holder.execute("UPDATE jobs SET package_size = 51 WHERE customer_id = 'acme'")
        seen = {"waiting": 0, "given up": 0}

        def release_after_two_tries() -> None:
            deadline, waiting = time.monotonic() + 60, False
            while seen["given up"] < 2 and time.monotonic() < deadline:
                now_waiting = theirs.value(failed_tries) > 0
                seen["given up"] += waiting and not now_waiting
                waiting = now_waiting
            holder.rollback()

        releasing = threading.Thread(target=release_after_two_tries)
        releasing.start()
        theirs.migrate()
        releasing.join(60)

    assert seen["given up"] == 2
    assert not producer.errors
    assert producer.longest < LONGEST_WAIT_SECONDS
    assert theirs.value("SELECT count(*) FROM jobs WHERE run_epoch = 1") == producer.inserted + 1


def test_empty_table_of_theirs_is_no_sign_that_nobody_writes(attach: Callable[[str], Database]) -> None:
    theirs = attach(CONTRACT)
    assert theirs.sql("SELECT mode FROM recovery_control") == [("observe",)]


@pytest.mark.parametrize("missing", ["jobs", "worker_heartbeats"])
def test_one_table_alone_is_completed(theirs: Database, missing: str) -> None:
    theirs.sql(f"{CONTRACT} DROP TABLE {missing}")
    theirs.migrate(OPSCONSOLE_CREATE_JOBS="1")
    insert_bare(theirs)
    theirs.sql("INSERT INTO worker_heartbeats (worker_id) VALUES ('w')")
    assert theirs.value("SELECT run_epoch FROM jobs") == 1
    assert theirs.value("SELECT metadata FROM worker_heartbeats") == {}


def test_heartbeats_without_primary_key_identify_live_workers(theirs: Database) -> None:
    theirs.sql(CONTRACT.replace("worker_id text PRIMARY KEY", "worker_id text"))
    theirs.migrate()
    theirs.sql(
        "INSERT INTO jobs (customer_id, package_size, status, started_at, updated_at, claimed_epoch)"
        " VALUES ('acme', 1, 'in_progress', now() - interval '1 day', now() - interval '1 day', 1);"
        " INSERT INTO worker_heartbeats (worker_id, current_job_id, current_run_epoch, last_heartbeat)"
        " SELECT 'w', id, 1, now() - beat FROM jobs, unnest(ARRAY[interval '1 hour', interval '1 second']) beat"
    )
    assert theirs.sql("SELECT * FROM find_stale_jobs(now() - interval '10 minutes')") == []
    assert len(theirs.sql("SELECT * FROM find_stale_jobs(now())")) == 1


def test_jobs_in_another_schema_are_found_and_own_tables_stay_separate(theirs: Database) -> None:
    """Attach to a schema with tables named like ours and a Django migration history."""
    theirs.sql(
        f"{CONTRACT} CREATE TABLE outbox (theirs int); CREATE TABLE sweeps (theirs int);"
        "CREATE TABLE django_migrations (id serial, app varchar(255), name varchar(255), applied timestamptz);"
        "INSERT INTO django_migrations (app, name, applied) VALUES ('jobs', '0001_initial', now()),"
        " ('auth', '0001_initial', now());"
    )
    insert_bare(theirs)
    assert theirs.inspect()[0] == 0
    code, findings = theirs.inspect(OPSCONSOLE_SCHEMA="public")
    assert code == 1 and "other-project" in {finding["id"] for finding in findings}

    theirs.migrate()

    assert theirs.value("SELECT run_epoch FROM public.jobs") == 1
    assert theirs.value("SELECT to_regclass('opsconsole.jobs')") is None
    assert theirs.value("SELECT count(*) FROM opsconsole.outbox") == 0
    assert theirs.value("SELECT count(*) FROM public.django_migrations") == 2
    assert theirs.sql("SELECT * FROM public.find_stale_jobs(now())") == []
    assert theirs.inspect()[0] == 0


def test_existing_function_is_replaced_with_its_privileges(theirs: Database) -> None:
    role = f"caller_{theirs.name}"
    theirs.sql(
        f"{CONTRACT} CREATE FUNCTION find_stale_jobs(ts timestamptz) RETURNS SETOF jobs LANGUAGE sql AS"
        f" 'SELECT * FROM jobs'; CREATE ROLE {role}; REVOKE ALL ON FUNCTION find_stale_jobs FROM PUBLIC;"
        f" GRANT EXECUTE ON FUNCTION find_stale_jobs TO {role};"
        f" CREATE ROLE other_{role}; ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO other_{role};"
    )
    try:
        theirs.migrate()
        columns = theirs.value("SELECT pg_get_function_result('find_stale_jobs(timestamptz)'::regprocedure)")
        assert columns == "TABLE(id uuid, customer_id text, package_size integer, priority_level text)"
        may = "SELECT has_function_privilege(%s, 'find_stale_jobs(timestamptz)', 'EXECUTE')"
        assert theirs.value(may, [role])
        assert not theirs.value(may, [f"other_{role}"])
        assert not theirs.value(
            "SELECT has_function_privilege('public', 'find_stale_jobs(timestamptz)', 'EXECUTE')"
        )
        path = theirs.value("SELECT proconfig FROM pg_proc WHERE proname = 'find_stale_jobs'")
        assert path == ["search_path=pg_catalog, opsconsole, pg_temp"]
    finally:
        theirs.sql(f"DROP OWNED BY {role}, other_{role}; DROP ROLE {role}, other_{role}")


@pytest.mark.parametrize(("types", "returned"), [("uuid", "uuid"), ("varchar(64)", "character varying")])
def test_find_stale_jobs_follows_the_types_of_the_columns(
    theirs: Database, types: str, returned: str
) -> None:
    theirs.sql(
        CONTRACT.replace("customer_id text", f"customer_id {types}").replace(
            "priority_level text NOT NULL DEFAULT 'starter'", "priority_level integer NOT NULL DEFAULT 1"
        )
    )
    theirs.migrate()
    assert theirs.value("SELECT pg_get_function_result('find_stale_jobs(timestamptz)'::regprocedure)") == (
        f"TABLE(id uuid, customer_id {returned}, package_size integer, priority_level integer)"
    )


@pytest.mark.parametrize("table", ["outbox", "job_events", "sweeps", "alerts", "auth_user"])
def test_name_already_in_use_stops_migrate_before_any_change(theirs: Database, table: str) -> None:
    theirs.sql(f"{CONTRACT} CREATE TABLE {table} (theirs int); INSERT INTO {table} VALUES (42)")
    relations = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
    before = theirs.sql(relations)

    done = theirs.manage("migrate", OPSCONSOLE_SCHEMA="public")

    assert done.returncode == 1
    assert f"public.{table}: a table of this name already exists" in done.stderr
    assert "unset OPSCONSOLE_SCHEMA" in done.stderr
    assert theirs.sql(relations) == before
    assert theirs.value(f"SELECT theirs FROM {table}") == 42
