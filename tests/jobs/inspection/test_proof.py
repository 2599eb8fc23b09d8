"""The verdict of ``inspect_database`` on real tables: obstacles in the catalogue, and what only running the statements shows."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction

from jobs.inspection import Finding, inspect_database, proof
from jobs.intake.enqueue import InvalidJob, NewJob, enqueue
from tests import databases
from tests.databases import CONTRACT, Database
from tests.other_sessions import other_session

NULL_TRIGGER = """
CREATE FUNCTION ignore_it() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$;
CREATE TRIGGER ignores BEFORE UPDATE ON jobs FOR EACH ROW WHEN (NEW.status = '{status}') EXECUTE FUNCTION ignore_it();
"""
RAISING_TRIGGER = """
CREATE FUNCTION refuse_it() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'not like this'; END$$;
CREATE TRIGGER refuses BEFORE UPDATE ON jobs FOR EACH ROW WHEN (NEW.status = '{status}') EXECUTE FUNCTION refuse_it();
"""
OTHER_WORD = """
CREATE FUNCTION say_otherwise() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.status := 'busy'; RETURN NEW; END$$;
CREATE TRIGGER changes BEFORE UPDATE ON jobs FOR EACH ROW WHEN (NEW.status = 'in_progress') EXECUTE FUNCTION say_otherwise();
"""
DEFERRED = """
CREATE FUNCTION refuse_late() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
IF NEW.status = 'failed' THEN RAISE EXCEPTION 'too late'; END IF; RETURN NULL; END$$;
CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON jobs DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_late();
"""
SEQUENCE = """
SET LOCAL search_path = public, opsconsole;
CREATE SEQUENCE "changes of jobs";
CREATE FUNCTION counted() RETURNS bigint LANGUAGE sql AS $$SELECT nextval('"changes of jobs"')$$;
CREATE FUNCTION count_it() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM counted(); RETURN NEW; END$$;
CREATE TRIGGER counts BEFORE UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION count_it();
"""


@pytest.fixture
def some_jobs(db: None) -> None:
    change(
        "INSERT INTO jobs (customer_id, package_size, status) SELECT 'acme', 5, word"
        " FROM unnest(ARRAY['pending', 'in_progress', 'completed']) AS word"
    )


def change(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


def only(findings: list[Finding], kind: str) -> Finding:
    [finding] = [each for each in findings if each.id == kind]
    return finding


def rows() -> list[tuple[object, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT jobs::text FROM jobs UNION ALL SELECT worker_heartbeats::text FROM worker_heartbeats ORDER BY 1"
        )
        return list(cursor.fetchall())


def test_statements_are_tried_and_leave_nothing_behind(some_jobs: None) -> None:
    before = rows()

    assert [finding.id for finding in proof.prove()] == ["proved"]
    assert rows() == before


def test_database_that_quotes_every_name_fits_as_well(some_jobs: None) -> None:
    change("SET LOCAL quote_all_identifiers = on")
    assert [each for each in inspect_database() if each.severity == "blocker"] == []
    assert [finding.id for finding in proof.prove()] == ["proved"]


def test_text_says_that_it_fits_only_after_the_trial(db: None) -> None:
    before, after = StringIO(), StringIO()
    call_command("inspect_database", stdout=before)
    change("INSERT INTO jobs (customer_id, package_size) VALUES ('acme', 5)")
    call_command("inspect_database", stdout=after)

    assert "not tried on a job" in before.getvalue()
    assert "The console fits this database." not in before.getvalue()
    assert "The console fits this database." in after.getvalue()


@pytest.mark.parametrize(
    ("sql", "kind", "said"),
    [
        (NULL_TRIGGER.format(status="completed"), "refused-complete", "a trigger that returns NULL"),
        (NULL_TRIGGER.format(status="in_progress"), "refused-claim", "a trigger that returns NULL"),
        (RAISING_TRIGGER.format(status="pending"), "refused-requeue", "not like this"),
        (RAISING_TRIGGER.format(status="quarantined"), "refused-quarantine", "not like this"),
        (OTHER_WORD, "refused-claim", "the status is 'busy'"),
        (DEFERRED, "refused-fail", "too late"),
        ("ALTER TABLE jobs ADD CHECK (status <> 'pending' OR error_message IS NULL)", "refused-recovery", "check"),
        ("ALTER TABLE jobs ADD CONSTRAINT short CHECK (length(worker_id) < 5)", "refused-claim", "short"),
        ("CREATE RULE quiet AS ON UPDATE TO jobs WHERE NEW.status = 'completed' DO INSTEAD NOTHING", "refused-claim", "RETURNING"),
    ],
)  # fmt: skip
def test_what_only_a_trial_shows_is_a_blocker(some_jobs: None, sql: str, kind: str, said: str) -> None:
    change(sql)

    finding = only(proof.prove(), kind)
    assert finding.severity == "blocker"
    assert said in finding.found


@pytest.mark.django_db(transaction=True)
def test_job_that_another_transaction_has_locked_is_passed_over() -> None:
    change("INSERT INTO jobs (customer_id, package_size) VALUES ('acme', 5)")
    with other_session() as other:
        other.execute("SET search_path = opsconsole, public")
        other.execute("SELECT FROM jobs FOR UPDATE")
        assert [finding.id for finding in proof.prove()] == ["not-proved"]
    assert [finding.id for finding in proof.prove()] == ["proved"]


def test_trigger_that_may_act_outside_is_asked_about_first(some_jobs: None) -> None:
    change(SEQUENCE)

    finding = only(proof.prove(), "not-proved")
    assert "the trigger counts of jobs runs counted, which uses nextval" in finding.found
    assert "--yes-run-triggers" in finding.action
    with connection.cursor() as cursor:
        cursor.execute('SELECT is_called FROM "changes of jobs"')
        assert cursor.fetchone() == (False,)
    assert [finding.id for finding in proof.prove(run_triggers=True)] == ["proved"]


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        (NULL_TRIGGER.replace("UPDATE", "INSERT").format(status="pending"), "a trigger that returns NULL"),
        (
            "ALTER TABLE jobs ADD trade text NOT NULL DEFAULT ''; ALTER TABLE jobs ALTER trade DROP DEFAULT",
            "null value in column",
        ),
    ],
)
def test_table_that_takes_no_job_of_the_console_still_fits(some_jobs: None, sql: str, said: str) -> None:
    change(sql)

    findings = proof.prove()
    assert said in only(findings, "refused-create").found
    assert only(findings, "refused-create").severity == "warning"
    assert only(findings, "proved").severity == "ok"
    with pytest.raises((InvalidJob, IntegrityError)), transaction.atomic():
        enqueue(NewJob(customer_id="acme", package_size=5))


def test_rule_is_found_and_its_advice_removes_it(some_jobs: None) -> None:
    change('CREATE RULE "Do not touch" AS ON UPDATE TO jobs DO INSTEAD NOTHING')

    finding = only(inspect_database(), "rule")
    assert finding.severity == "blocker"
    change(finding.action)
    assert "rule" not in {each.id for each in inspect_database()}


def test_generated_column_is_found_and_its_advice_removes_it(some_jobs: None) -> None:
    change("ALTER TABLE jobs DROP COLUMN error_message; "
           "ALTER TABLE jobs ADD error_message text GENERATED ALWAYS AS (customer_id || '!') STORED")  # fmt: skip

    finding = only(inspect_database(), "column-generated")
    assert (finding.severity, finding.subject) == ("blocker", "jobs.error_message")
    change(finding.action.partition(";")[0])
    assert "column-generated" not in {each.id for each in inspect_database()}


def test_partition_in_place_of_its_table_is_found(some_jobs: None) -> None:
    change("""ALTER TABLE jobs RENAME TO "Jobs of July";
              CREATE TABLE "All Jobs" (LIKE "Jobs of July") PARTITION BY LIST (queue);
              ALTER TABLE "All Jobs" ATTACH PARTITION "Jobs of July" DEFAULT;
              ALTER TABLE "Jobs of July" RENAME TO jobs""")  # fmt: skip

    finding = only(inspect_database(), "table-partition")
    assert finding.severity == "blocker"
    assert 'is a partition of "All Jobs"' in finding.found


def test_tables_that_inherit_from_it_are_named(some_jobs: None) -> None:
    change('CREATE TABLE "Jobs of July" () INHERITS (public.jobs)')
    assert '"Jobs of July" inherit from it' in only(inspect_database(), "table-inherited").found


def test_publication_names_the_columns_for_subscribers_before_migrate(theirs: Database) -> None:
    theirs.sql(CONTRACT + 'CREATE PUBLICATION "Ware House" FOR TABLE jobs')
    finding = next(each for each in theirs.inspect()[1] if each["id"] == "publication")
    assert '"Ware House"' in finding["found"]

    theirs.sql(finding["action"].partition("migrate: ")[2])

    assert "publication" not in {each["id"] for each in theirs.inspect()[1]}


def test_migrate_creates_no_jobs_beside_a_queue_that_the_search_path_misses(
    theirs: Database, settings: Any
) -> None:
    theirs.sql('CREATE SCHEMA "Work"; SET search_path = "Work";' + CONTRACT)
    theirs.sql(
        """INSERT INTO "Work".jobs (customer_id, package_size, status) VALUES ('a', 1, 'pending'), ('a', 1, 'in_progress')"""
    )
    refused = theirs.manage("migrate")

    assert refused.returncode == 1
    assert '"Work"."jobs" looks like a queue of jobs' in refused.stderr
    assert theirs.value(
        "SELECT to_regclass('public.jobs') IS NULL AND to_regclass('django_migrations') IS NULL"
    )
    settings.OPSCONSOLE_CREATE_JOBS = True
    assert theirs.inspect()[0] == 0


@pytest.mark.parametrize(
    ("sql", "subject", "name", "step"),
    [
        ('ALTER TABLE jobs ADD CONSTRAINT "Short names" CHECK (length(worker_id) < 5)', "jobs.worker_id",
         '"Short names"', "claims a job"),
        ("ALTER TABLE jobs ADD CONSTRAINT clean CHECK (status <> 'pending' OR error_message IS NULL)",
         "jobs.error_message", "clean", "recovers a run"),
        ("ALTER TABLE jobs ADD CONSTRAINT once CHECK (run_epoch < 2)", "jobs.run_epoch", "once", "requeues a job"),
        ("ALTER TABLE jobs ADD CONSTRAINT like_this CHECK (error_message NOT LIKE '%went%')", "jobs.error_message",
         "like_this", "fails a run"),
        ("ALTER TABLE worker_heartbeats ADD CONSTRAINT web CHECK (hostname ~ '^web')", "worker_heartbeats.hostname",
         "web", "writes a heartbeat"),
        (('CREATE DOMAIN brief AS text CONSTRAINT "In brief" CHECK (length(VALUE) < 9);'
          "ALTER TABLE jobs ALTER COLUMN error_message TYPE brief"), "jobs.error_message", '"In brief"', "recovers a run"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("with_rows", [True, False])
def test_check_on_any_written_column_is_named_before_the_trial(
    some_jobs: None, sql: str, subject: str, name: str, step: str, with_rows: bool
) -> None:
    if not with_rows:
        change("DELETE FROM jobs")
    change(sql)

    finding = only(inspect_database(), "column-check")
    assert (finding.severity, finding.subject) == ("blocker", subject)
    assert f"the constraint {name} " in finding.found and step in finding.found
    change(finding.action.partition("or: ")[2])
    assert "column-check" not in {each.id for each in inspect_database()}


def test_statuses_are_judged_by_their_own_column_alone(some_jobs: None) -> None:
    """A domain of another column refuses the NULL of a row that is made up."""
    change(
        "CREATE DOMAIN email AS text NOT NULL CHECK (VALUE LIKE '%@%'); ALTER TABLE jobs ADD mail email DEFAULT 'a@b'"
    )
    assert not {each.id for each in inspect_database()} & {"status-type", "status-check"}
    change("ALTER TABLE jobs ADD CONSTRAINT mailed CHECK (status <> 'failed')")
    assert only(inspect_database(), "status-check").found.startswith("the constraint mailed refuses 'failed'")


def test_publication_of_listed_columns_sends_no_others(theirs: Database) -> None:
    theirs.sql(CONTRACT + "CREATE PUBLICATION warehouse FOR TABLE jobs (id, status)")
    assert not [each for each in theirs.inspect()[1] if each["id"].startswith("publication")]
    theirs.sql("ALTER TABLE jobs REPLICA IDENTITY FULL")
    code, findings = theirs.inspect()
    assert (code, [each["id"] for each in findings if each["severity"] == "blocker"]) == (
        1,
        ["publication-columns"],
    )


def test_default_that_writes_local_time_is_proposed_and_found(theirs: Database, tmp_path: Path) -> None:
    """Read as UTC, each heartbeat would seem hours old, and living runs would be taken."""
    theirs.sql(f"ALTER DATABASE {theirs.name} SET timezone = 'America/New_York'")
    theirs.sql(
        "CREATE TABLE jobs (id uuid PRIMARY KEY, status text, created_at timestamp NOT NULL DEFAULT now(), started_at timestamp,"
        " updated_at timestamp DEFAULT timezone('utc', now()), heartbeat_at timestamp DEFAULT LOCALTIMESTAMP, error text);"
        "INSERT INTO jobs VALUES (gen_random_uuid(), 'queued'), (gen_random_uuid(), 'running'), (gen_random_uuid(), 'done')"
    )
    proposal = theirs.manage("inspect_database", "--propose").stdout
    assert 'created_at = "without_zone:America/New_York"' in proposal
    assert 'updated_at = "without_zone"  #' in proposal
    file = tmp_path / "mapping.toml"
    file.write_text(proposal)
    assert not [each for each in theirs.inspect(OPSCONSOLE_MAPPING=str(file))[1] if each["id"] == "time-zone"]
    file.write_text(proposal.replace(":America/New_York", ""))
    found = [
        each["subject"]
        for each in theirs.inspect(OPSCONSOLE_MAPPING=str(file))[1]
        if each["id"] == "time-zone"
    ]
    assert found == ["jobs.created_at"]


@pytest.mark.parametrize(
    ("encoding", "severity"),
    [("LATIN1", "blocker"), pytest.param("SQL_ASCII", "warning", id="keeps whatever bytes it is given")],
)
def test_encoding_other_than_utf8_is_found(theirs: Database, encoding: str, severity: str) -> None:
    other = Database(theirs.server, f"{theirs.name}_other")
    theirs.sql(
        f"CREATE DATABASE {other.name} ENCODING '{encoding}' TEMPLATE template0 LOCALE_PROVIDER libc LOCALE 'C'"
    )
    try:
        other.sql(CONTRACT)
        code, findings = other.inspect()
        assert code == int(severity == "blocker")
        assert {each["severity"] for each in findings if each["id"] == "server-encoding"} == {severity}
    finally:
        databases.drop(other)


def test_checks_that_accept_what_is_written_are_no_findings(some_jobs: None) -> None:
    change("UPDATE jobs SET started_at = now() WHERE status = 'in_progress'")
    change(
        "ALTER TABLE jobs ADD CHECK (started_at >= created_at), ADD CHECK (status <> 'in_progress' OR started_at IS NOT NULL),"
        " ADD CHECK (length(error_message) < 500), ADD CHECK (customer_id <> '' AND run_epoch > 0)"
    )
    assert not {each.id for each in inspect_database()} & {"column-check", "status-check"}
