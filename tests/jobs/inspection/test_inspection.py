"""Tests of ``inspect_database``: it names each mismatch, and following its advice fixes it."""

from __future__ import annotations

import json
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.databases import CONTRACT, Database

Finding = dict[str, str]


def changed(old: str, new: str) -> str:
    assert old in CONTRACT
    return CONTRACT.replace(old, new)


def found(findings: list[Finding], kind: str, subject: str) -> Finding:
    matching = [finding for finding in findings if (finding["id"], finding["subject"]) == (kind, subject)]
    assert len(matching) == 1, findings
    return matching[0]


def statements(action: str) -> str:
    """Return the SQL of a finding's action: from ALTER to the last semicolon, without "(in batches)"."""
    sql = action[action.index("ALTER") : action.rindex(";") + 1]
    return sql.replace("(in batches)", "")


def test_contract_schema_fits_before_and_after_migrate(theirs: Database) -> None:
    theirs.sql(CONTRACT)
    assert theirs.inspect()[0] == 0
    theirs.migrate()
    code, findings = theirs.inspect()
    assert code == 0
    assert {finding["severity"] for finding in findings} == {"ok"}
    text = theirs.manage("inspect_database").stdout
    assert "The console fits this database." not in text
    assert "not tried on a job" in text
    assert "A run is taken no earlier than 10 min after the last heartbeat that named it" in text

    # Somebody put it away since.
    theirs.sql("CREATE SCHEMA backup; ALTER TABLE worker_heartbeats SET SCHEMA backup")
    code, findings = theirs.inspect()
    gone = found(findings, "table-missing", "worker_heartbeats")
    assert (code, gone["severity"]) == (1, "blocker")
    assert "although migrate was run" in gone["found"] and "that of backup: ALTER ROLE" in gone["action"]


def test_empty_database_fits(theirs: Database) -> None:
    code, findings = theirs.inspect()
    assert code == 0
    assert [finding["subject"] for finding in findings if finding["id"] == "table-missing"] == [
        "jobs",
        "worker_heartbeats",
        "rate_limit_requests",
    ]


@pytest.mark.parametrize(
    ("schema", "kind", "subject"),
    [
        (changed("updated_at timestamptz", "updated_at timestamp"), "column-type", "jobs.updated_at"),
        (changed("current_job_id uuid", "current_job_id text"), "column-type", "worker_heartbeats.current_job_id"),
        (changed("package_size int", "package_size text"), "column-type", "jobs.package_size"),
        (changed("package_size int", "package_size numeric(10,2)")
         + "INSERT INTO jobs (customer_id, package_size) VALUES ('acme', 50)", "column-type", "jobs.package_size"),
        (changed("error_message text,", ""), "column-missing", "jobs.error_message"),
        (changed("started_at timestamptz", "started_at timestamptz NOT NULL"), "column-not-null", "jobs.started_at"),
        (CONTRACT + "ALTER TABLE jobs ADD attempts int", "column-nullable", "jobs.attempts"),
        (CONTRACT + "ALTER TABLE jobs ADD payload json", "column-taken", "jobs.payload"),
        (CONTRACT + "ALTER TABLE jobs ADD CHECK (status IN ('pending', 'in_progress', 'failed'))", "status-check",
         "jobs.status"),
        (changed("status text", "status varchar(9)"), "status-type", "jobs.status"),
    ],
)  # fmt: skip
def test_blocker_stops_migrate_and_its_advice_removes_it(
    theirs: Database, schema: str, kind: str, subject: str
) -> None:
    theirs.sql(schema)
    code, findings = theirs.inspect()
    finding = found(findings, kind, subject)
    assert (code, finding["severity"]) == (1, "blocker")
    refused = theirs.manage("migrate")
    assert refused.returncode == 1
    assert f"{finding['subject']}: {finding['found']}" in refused.stderr
    assert theirs.value("SELECT to_regclass('django_migrations')") is None

    theirs.sql(statements(finding["action"]))

    # What the checks of migrate then find is the same: nothing that stops it.
    assert theirs.inspect()[0] == 0


@pytest.mark.parametrize(
    ("schema", "kind", "subject"),
    [
        (changed("updated_at timestamptz NOT NULL", "updated_at timestamptz"), "column-nullable", "jobs.updated_at"),
        (changed("status text NOT NULL DEFAULT 'pending'", "status text NOT NULL"), "column-default", "jobs.status"),
        (changed("'pending'", "'queued'"), "status-default", "jobs.status"),
        (changed("error_message text", "error_message varchar(255)"), "column-short", "jobs.error_message"),
        (CONTRACT + "ALTER TABLE jobs ADD CHECK (status IN ('pending', 'in_progress', 'completed', 'failed'))",
         "status-check", "jobs.status"),
    ],
)  # fmt: skip
def test_warning_lets_migrate_pass_and_its_advice_settles_it(
    theirs: Database, schema: str, kind: str, subject: str
) -> None:
    theirs.sql(schema)
    theirs.migrate()
    code, findings = theirs.inspect()
    finding = found(findings, kind, subject)
    assert (code, finding["severity"]) == (0, "warning")

    theirs.sql(statements(finding["action"]))

    assert not [finding for finding in theirs.inspect()[1] if finding["id"] == kind]


def test_key_of_another_type_than_uuid_is_explained(theirs: Database) -> None:
    theirs.sql(changed("id uuid PRIMARY KEY DEFAULT gen_random_uuid()", "id bigserial PRIMARY KEY"))
    code, findings = theirs.inspect()
    finding = found(findings, "column-type", "jobs.id")
    assert (code, finding["found"], finding["wanted"]) == (1, "its type is bigint", "uuid")
    assert 'id_type = "bigint"' in finding["action"]


def test_timestamps_are_converted_without_rewriting(theirs: Database) -> None:
    theirs.sql(changed("updated_at timestamptz", "updated_at timestamp"))
    advice = found(theirs.inspect()[1], "column-type", "jobs.updated_at")["action"]
    file = theirs.value("SELECT pg_relation_filenode('jobs')")
    theirs.sql("SET timezone = 'UTC'; " + statements(advice))
    assert "SET timezone = 'UTC';" in advice
    assert theirs.value("SELECT pg_relation_filenode('jobs')") == file


def test_compatible_column_types_are_accepted(theirs: Database) -> None:
    theirs.sql(
        changed("customer_id text", "customer_id uuid")
        .replace(
            "priority_level text NOT NULL DEFAULT 'starter'", "priority_level integer NOT NULL DEFAULT 1"
        )
        .replace("package_size int", "package_size smallint")
        .replace("worker_id text", "worker_id varchar")
    )
    code, findings = theirs.inspect()
    assert code == 0
    # The settings of the session are judged apart: this role has none.
    assert {finding["severity"] for finding in findings if finding["id"] != "session-settings"} <= {
        "ok",
        "info",
    }


def test_advice_adds_missing_labels_to_an_enum(theirs: Database) -> None:
    theirs.sql(
        "CREATE TYPE job_status AS ENUM ('pending', 'in_progress', 'completed', 'failed');"
        + changed("status text NOT NULL DEFAULT 'pending'", "status job_status NOT NULL DEFAULT 'pending'")
    )
    code, findings = theirs.inspect()
    finding = found(findings, "status-type", "jobs.status")
    assert code == 1
    assert finding["action"] == (
        "ALTER TYPE job_status ADD VALUE 'quarantined'; ALTER TYPE job_status ADD VALUE 'cancelled';"
    )
    for statement in finding["action"].split("; "):
        theirs.sql(statement)
    theirs.migrate()
    theirs.sql("INSERT INTO jobs (customer_id, package_size) VALUES ('acme', 1)")
    assert theirs.inspect()[0] == 0


def test_multi_column_check_is_tested_with_sample_row(theirs: Database) -> None:
    theirs.sql(
        CONTRACT
        + "ALTER TABLE jobs ADD CONSTRAINT started CHECK (status <> 'in_progress' OR started_at IS NOT NULL),"
        " ADD CONSTRAINT ended CHECK ((completed_at IS NOT NULL) = (status IN ('completed', 'failed')))"
    )
    findings = [finding for finding in theirs.inspect()[1] if finding["id"] == "status-check"]
    assert len(findings) == 1
    assert "constraint ended refuses 'failed' " in findings[0]["found"]


def test_lookup_table_of_statuses_is_reported(theirs: Database) -> None:
    theirs.sql(
        "CREATE TABLE states (name text PRIMARY KEY);"
        "INSERT INTO states VALUES ('pending'), ('in_progress'), ('completed'), ('failed'), ('cancelled');"
        + changed("status text NOT NULL", "status text NOT NULL REFERENCES states")
    )
    finding = found(theirs.inspect()[1], "status-lookup", "jobs.status")
    assert finding["severity"] == "warning"
    theirs.sql(finding["action"])
    assert not [finding for finding in theirs.inspect()[1] if finding["id"] == "status-lookup"]


@pytest.mark.parametrize("attached", [False, True])
def test_unknown_statuses_are_reported(theirs: Database, attached: bool) -> None:
    theirs.sql(
        CONTRACT + "INSERT INTO jobs (customer_id, package_size, status)"
        " SELECT 'acme', 1, (ARRAY['processing', 'archived', 'pending'])[1 + i % 3] FROM generate_series(1, 3000) i"
    )
    theirs.sql("ANALYZE jobs")
    if attached:
        theirs.migrate()
    finding = found(theirs.inspect()[1], "status-unknown", "jobs.status")
    assert finding["severity"] == "warning"
    assert finding["found"].startswith("there are jobs with 'archived', 'processing'")
    theirs.sql("UPDATE jobs SET status = 'in_progress' WHERE status = 'processing'")
    theirs.sql("ANALYZE jobs")
    assert found(theirs.inspect()[1], "status-unknown", "jobs.status")["severity"] == "info"


def test_missing_privileges_are_reported_with_grants(theirs: Database, role: str) -> None:
    theirs.sql(CONTRACT)
    theirs.sql(f"GRANT SELECT ON jobs TO {role}")
    code, findings = theirs.inspect(user=role)
    assert code == 1
    assert found(findings, "privileges", "jobs")["found"] == f"the role {role} lacks INSERT, UPDATE"
    assert found(findings, "ownership", "jobs")["found"].startswith("it belongs to postgres")
    assert "GRANT CREATE, USAGE" in next(f for f in findings if f["id"] == "schema-create")["action"]

    theirs.migrate()
    theirs.sql(
        f"GRANT USAGE ON SCHEMA opsconsole TO {role}; GRANT SELECT ON ALL TABLES IN SCHEMA public, opsconsole TO {role}"
    )
    for finding in theirs.inspect(user=role)[1]:
        assert finding["id"] != "schema-create"
        if finding["id"] == "privileges":
            theirs.sql(finding["action"])

    assert theirs.inspect(user=role)[0] == 0


def test_row_level_security_that_applies_is_reported(theirs: Database, role: str) -> None:
    theirs.sql(CONTRACT + "ALTER TABLE jobs ENABLE ROW LEVEL SECURITY")
    assert theirs.inspect()[0] == 0
    theirs.migrate()
    theirs.sql(
        f"GRANT USAGE ON SCHEMA opsconsole TO {role}; GRANT ALL ON ALL TABLES IN SCHEMA public, opsconsole TO {role}"
    )
    code, findings = theirs.inspect(user=role)
    finding = found(findings, "row-security", "jobs")
    assert (code, finding["severity"]) == (1, "blocker")
    bypass, policy = finding["action"].split(" or, where that is not possible: ")
    theirs.sql(policy)
    assert theirs.inspect(user=role)[0] == 0
    theirs.sql("CREATE POLICY narrow ON jobs AS RESTRICTIVE USING (customer_id <> 'hidden')")
    assert theirs.inspect(user=role)[0] == 1
    theirs.sql(bypass)
    assert theirs.inspect(user=role)[0] == 0


def test_foreign_triggers_and_required_columns_are_reported(theirs: Database) -> None:
    theirs.sql(
        CONTRACT + "ALTER TABLE jobs ADD business_name text NOT NULL;"
        "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        "CREATE TRIGGER touch BEFORE UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION touch();"
    )
    code, findings = theirs.inspect()
    assert code == 0
    assert found(findings, "triggers", "jobs")["found"].endswith(": touch")
    assert found(findings, "column-required", "jobs.business_name")["severity"] == "warning"


def test_columns_with_conflicting_names_are_reported(theirs: Database) -> None:
    theirs.sql(CONTRACT + "ALTER TABLE jobs ADD payload jsonb NOT NULL DEFAULT '{}'")
    finding = found(theirs.inspect()[1], "column-taken", "jobs.payload")
    assert finding["severity"] == "warning"
    theirs.migrate()
    assert not [finding for finding in theirs.inspect()[1] if finding["id"] == "column-taken"]


def test_workers_that_do_not_name_their_jobs_are_reported(theirs: Database) -> None:
    theirs.sql(CONTRACT)
    theirs.sql(
        "INSERT INTO jobs (customer_id, package_size, status) SELECT 'c', 1, 'in_progress' FROM generate_series(1, 3);"
        "INSERT INTO worker_heartbeats (worker_id) VALUES ('pool')"
    )
    for attached in (False, True):
        if attached:
            theirs.migrate()
        finding = found(
            theirs.inspect()[1], "workers-do-not-name-their-jobs", "worker_heartbeats.current_job_id"
        )
        assert finding["found"].startswith("heartbeats name 0 of 3 running jobs")
        assert "recovery_mode unknown-runs" in finding["action"]
    theirs.sql("UPDATE worker_heartbeats SET current_job_id = (SELECT id FROM jobs LIMIT 1)")
    theirs.sql("DELETE FROM jobs WHERE id <> (SELECT current_job_id FROM worker_heartbeats)")
    ids = {finding["id"] for finding in theirs.inspect()[1]}
    assert "workers-do-not-name-their-jobs" not in ids


def test_heartbeats_without_a_key_and_workers_of_the_old_kind(theirs: Database) -> None:
    theirs.sql(changed("worker_id text PRIMARY KEY", "worker_id text NOT NULL"))
    theirs.migrate()
    theirs.sql("INSERT INTO worker_heartbeats (worker_id) VALUES ('a'), ('b')")
    theirs.sql("INSERT INTO worker_heartbeats (worker_id, metadata) VALUES ('c', '{\"protocol\": 1}')")
    findings = theirs.inspect()[1]
    unique = found(findings, "worker-not-unique", "worker_heartbeats.worker_id")
    assert found(findings, "workers-without-epochs", "worker_heartbeats")["found"].startswith("2 workers")
    theirs.sql(unique["action"])
    assert not [finding for finding in theirs.inspect()[1] if finding["id"] == "worker-not-unique"]


def test_view_in_place_of_the_table_is_reported(theirs: Database) -> None:
    theirs.sql(
        CONTRACT
        + "CREATE SCHEMA app; ALTER TABLE jobs SET SCHEMA app; CREATE VIEW jobs AS SELECT * FROM app.jobs"
    )
    code, findings = theirs.inspect()
    assert code == 1
    assert "public.jobs is a view" in found(findings, "table-kind", "jobs")["found"]
    theirs.migrate(search_path="app,public")


def test_functions_with_conflicting_names_are_reported(theirs: Database) -> None:
    theirs.sql(
        CONTRACT
        + "CREATE FUNCTION find_stale_jobs(timestamptz) RETURNS SETOF uuid LANGUAGE sql AS 'SELECT id FROM jobs';"
        "CREATE FUNCTION find_stale_jobs(interval) RETURNS SETOF uuid LANGUAGE sql AS 'SELECT id FROM jobs';"
    )
    code, findings = theirs.inspect()
    assert code == 0
    replaced = found(findings, "function-replaced", "find_stale_jobs(timestamp with time zone)")
    assert "returns SETOF uuid" in replaced["found"]
    assert found(findings, "function-overloaded", "find_stale_jobs(interval)")["severity"] == "warning"
    theirs.sql("CREATE VIEW stale AS SELECT * FROM find_stale_jobs(now())")
    code, findings = theirs.inspect()
    assert code == 1
    blocked = found(findings, "function-replaced", "find_stale_jobs(timestamp with time zone)")
    assert "view stale depends on it" in blocked["found"]


def test_read_only_connections(theirs: Database) -> None:
    theirs.sql(CONTRACT)
    theirs.sql(f"ALTER DATABASE {theirs.name} SET default_transaction_read_only = on")
    code, findings = theirs.inspect()
    assert code == 1
    assert found(findings, "read-only", "PostgreSQL")["severity"] == "blocker"


def test_inspecting_writes_nothing(attach: Callable[[str], Database]) -> None:
    theirs = attach(CONTRACT)
    counters = "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables"
    before = theirs.value(counters)
    theirs.inspect()
    assert theirs.value(counters) == before


RENAMED = (
    CONTRACT.replace("last_heartbeat", "last_seen")
    .replace("customer_id", "client_ref")
    .replace("priority_level", "tier")
)
COLUMNS = {
    "worker_heartbeats.last_heartbeat": "last_seen",
    "jobs.customer_id": "client_ref",
    "jobs.priority_level": "tier",
}
LIFE = """
from datetime import timedelta
from django.db.models import F
from django.db.models.functions import Now
from jobs.models import Job, WorkerHeartbeat
from opsconsole_worker.runs import heartbeats
from opsconsole_worker.runs import lifecycle

worker = heartbeats.Worker("w-1")
job_id = Job.objects.get(customer_id="acme").pk
run = lifecycle.claim(job_id, None, worker)
assert run.customer_id == "acme" and run.priority == "starter", run
assert heartbeats.beat(worker, job_id, 1) == heartbeats.Verdict.GO_ON
assert not Job.objects.stale().exists()
long_ago = Now() - timedelta(days=1)
Job.objects.update(started_at=long_ago, updated_at=long_ago)
assert not Job.objects.stale().exists()
WorkerHeartbeat.objects.update(last_heartbeat=long_ago)
print(Job.objects.stale().get().customer_id)
"""


def test_columns_of_other_names_are_mapped_end_to_end(theirs: Database) -> None:
    theirs.sql(RENAMED + "INSERT INTO jobs (client_ref, package_size) VALUES ('acme', 50)")
    code, findings = theirs.inspect()
    assert code == 1
    advised: dict[str, Any] = {}
    for subject in COLUMNS:
        action = found(findings, "column-missing", subject)["action"]
        advised |= json.loads(action.removeprefix("OPSCONSOLE_COLUMNS='").partition("'")[0])
    assert advised == COLUMNS

    mapping = {"OPSCONSOLE_COLUMNS": json.dumps(advised)}
    assert theirs.inspect(**mapping)[0] == 0
    theirs.migrate(**mapping)
    lived = theirs.manage("shell", "-v0", "-c", LIFE, **mapping)

    assert lived.stdout.strip() == "acme", lived.stderr
    stale = theirs.sql(
        "SELECT customer_id, priority_level FROM find_stale_jobs(now() - interval '10 minutes')"
    )
    assert stale == [("acme", "starter")]
    assert theirs.manage("makemigrations", "--check", "--dry-run", **mapping).returncode == 0


def test_privileges_that_migrate_grants_suffice(theirs: Database, role: str) -> None:
    theirs.sql(CONTRACT + "INSERT INTO jobs (customer_id, package_size) VALUES ('acme', 50)")
    theirs.migrate(user=role, OPSCONSOLE_OWNER_DATABASE_URL=theirs.url())

    assert theirs.inspect(user=role)[0] == 0
    lived = theirs.manage("shell", "-v0", "-c", LIFE, user=role)
    assert lived.stdout.strip() == "acme", lived.stderr
    for command in (["recover_stale_jobs"], ["cleanup_rate_limits"]):
        done = theirs.manage(*command, user=role)
        assert done.returncode == 0, done.stderr


class Pooler:
    """A proxy between client and server that announces a made-up process ID, as a pooler does."""

    ANNOUNCEMENT = b"K\x00\x00\x00\x0c"

    def __init__(self, server: str, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(folder / ".s.PGSQL.5432"))
        self.listener.listen()

    def serve_one(self) -> None:
        client, _ = self.listener.accept()
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{self.server}/.s.PGSQL.5432")
        with client, server:
            threading.Thread(target=self.copy, args=(client, server), daemon=True).start()
            self.copy(server, client)

    def copy(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                before, announced, after = data.partition(self.ANNOUNCEMENT)
                target.sendall(before + announced + (b"\x00\x00\x00\x07" + after[4:] if announced else after))
            target.shutdown(socket.SHUT_WR)


def test_connection_pooler_is_detected(theirs: Database) -> None:
    theirs.sql(CONTRACT)
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="pooler-"))
    pooler = Pooler(theirs.server["host"], folder)
    serving = threading.Thread(target=pooler.serve_one)
    serving.start()
    try:
        code, findings = theirs.inspect(host=str(folder))
    finally:
        serving.join(30)
        pooler.listener.close()
        shutil.rmtree(folder)
    finding = found(findings, "pooler", "DATABASE_URL")
    assert (code, finding["severity"]) == (0, "warning")
    assert "is not the one announced (7)" in finding["found"]
    assert not [finding for finding in theirs.inspect()[1] if finding["id"] == "pooler"]
