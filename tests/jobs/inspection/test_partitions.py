"""Tests of partitions of an events table with another owner: created, or missing rights reported."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.databases import CONTRACT, Database

PRUNE = "from jobs import tasks; print(tasks.prune())"
KINDS = {"event-partitions", "events-in-default-partition"}


@pytest.fixture
def theirs(attach: Callable[[str], Database]) -> Database:
    """Return a database of theirs to which the console is attached already."""
    return attach(CONTRACT)


def prune(database: Database, role: str) -> str:
    done = database.manage("shell", "-v0", "-c", PRUNE, user=role)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().rpartition("event partitions: ")[2]


def findings(database: Database, role: str) -> list[dict[str, str]]:
    return [finding for finding in database.inspect(user=role)[1] if finding["id"] in KINDS]


def test_missing_right_is_reported_with_grant(theirs: Database, role: str) -> None:
    missing = theirs.value("SELECT max(relname::text) FROM pg_class WHERE relname ~ '^job_events_[0-9_]+$'")
    theirs.sql(
        f"DROP TABLE {missing}; REVOKE ALL ON SCHEMA public FROM PUBLIC; GRANT USAGE ON SCHEMA public TO {role};"
        f"GRANT USAGE ON SCHEMA opsconsole TO {role};"
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public, opsconsole TO {role};"
    )
    [finding] = findings(theirs, role)
    assert finding["severity"] == "warning"
    assert prune(theirs, role) == ("not created (permission denied for function create_job_event_partitions)")

    theirs.sql(finding["action"])

    assert findings(theirs, role) == []
    assert prune(theirs, role) == f"{missing} created"
    owner = "SELECT relowner::regrole::text FROM pg_class WHERE relname = %s"
    assert theirs.value(owner, [missing]) == theirs.value(owner, ["job_events"])


def test_new_partition_has_privileges_of_table(theirs: Database, role: str) -> None:
    missing = theirs.value("SELECT max(relname::text) FROM pg_class WHERE relname ~ '^job_events_[0-9_]+$'")
    theirs.sql(
        f"DROP TABLE {missing}; ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC, {role};"
        f"GRANT SELECT ON job_events TO {role}; ALTER TABLE job_events ENABLE ROW LEVEL SECURITY"
    )

    theirs.sql("SELECT create_job_event_partitions(3)")

    rights = "SELECT has_table_privilege(%s, %s, 'SELECT'), has_table_privilege(%s, %s, 'INSERT')"
    assert theirs.sql(rights, [role, missing, role, missing]) == [(True, False)]
    assert theirs.sql(rights, ["public", missing, "public", missing]) == [(False, False)]
    assert theirs.value("SELECT relrowsecurity FROM pg_class WHERE relname = %s", [missing])


def test_events_in_default_partition_are_reported(theirs: Database) -> None:
    theirs.sql(
        "INSERT INTO job_events (job_id, at, kind, actor) VALUES (gen_random_uuid(), '2001-01-01', 'claimed', 'w')"
    )
    [finding] = [finding for finding in theirs.inspect()[1] if finding["id"] in KINDS]
    assert (finding["id"], finding["severity"]) == ("events-in-default-partition", "info")


def test_function_is_not_public_and_has_fixed_search_path(theirs: Database) -> None:
    assert theirs.sql(
        "SELECT prosecdef, proconfig, has_function_privilege('public', oid, 'EXECUTE'),"
        "       proowner = (SELECT relowner FROM pg_class WHERE relname = 'job_events')"
        "  FROM pg_proc WHERE proname = 'create_job_event_partitions'"
    ) == [(True, ["search_path=pg_catalog, pg_temp", "lock_timeout=2s"], False, True)]
