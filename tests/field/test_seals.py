"""Attacks on the audit, as the role that the console runs with (refused) and as the owner of the tables (found)."""

from __future__ import annotations

import json

import psycopg
import pytest
from django.db import connections
from psycopg.errors import InsufficientPrivilege

from opsconsole.seals import sealer, verification
from tests.databases import Database
from tests.field.console import OWNER, RUNTIME, Console

LINE = (
    "INSERT INTO django_admin_log (action_time, user_id, object_repr, action_flag, change_message)"
    " SELECT %s::timestamptz, min(id), 'a job', 2, 'Requeued.' FROM auth_user RETURNING id, action_time > now() - interval '1 hour'"
)
EVENT = "INSERT INTO job_events (job_id, kind, actor) VALUES (gen_random_uuid(), 'progress', 'worker:w')"
PARTITION = "SELECT tableoid::regclass::text FROM job_events LIMIT 1"
REFUSED = (
    "UPDATE {table} SET {column} = {column} WHERE true",
    "DELETE FROM {table}",
    "TRUNCATE {table}",
    "ALTER TABLE {table} DISABLE TRIGGER ALL",
    "SET session_replication_role = replica",
)
TABLES = {
    "django_admin_log": "change_message",
    "job_events": "reason",
    "audit_seals": "hash",
    "audit_details": "reason",
}


def connected(database: Database, role: str) -> psycopg.Connection[tuple[object, ...]]:
    return database.connect(user=role)


def seal(database: Database) -> int:
    """Seal as the cluster does, with the role that it has; return the number of rows."""
    with database.as_default():
        connections["default"].settings_dict["USER"] = RUNTIME
        return sealer.seal().rows


@pytest.fixture
def sealed(database: Database) -> Database:
    """Write lines and events as the console does, and seal them."""
    # What is there before, such as the line about the first account.
    seal(database)
    for _ in range(3):
        with connected(database, RUNTIME) as session:
            session.execute(LINE, ["now"])
            session.execute(EVENT)
        assert seal(database) == 2
    return database


def test_runtime_role_is_refused(sealed: Database) -> None:
    [(partition,)] = sealed.sql(PARTITION)
    with connected(sealed, RUNTIME) as session:
        for table, column in {**TABLES, partition: "reason"}.items():
            for statement in REFUSED:
                with pytest.raises(InsufficientPrivilege):
                    session.execute(statement.format(table=table, column=column))
        # It can write a line in another's name, as the console does, but not into the past.
        assert session.execute(LINE, ["2001-01-01"]).fetchone()[1]  # type: ignore[index]  # it returns a row
    with sealed.as_default():
        assert verification.verify().breaks == []


def test_owner_who_leaves_the_triggers_on_is_refused(sealed: Database) -> None:
    [(partition,)] = sealed.sql(PARTITION)
    with connected(sealed, OWNER) as session:
        for table, column in {**TABLES, partition: "reason"}.items():
            if table == "audit_details":
                continue  # It has no row that could be changed.
            for statement in REFUSED[:3]:
                with pytest.raises(InsufficientPrivilege, match="append-only"):
                    session.execute(statement.format(table=table, column=column))


def test_owner_who_switches_the_triggers_off_is_found_out(sealed: Database, console: Console) -> None:
    attacks = {
        "altered": "UPDATE django_admin_log SET change_message = 'x' WHERE id = (SELECT min(id) FROM django_admin_log)",
        "inserted": LINE.replace("%s", "'2001-01-01'"),
        "deleted": "DELETE FROM job_events WHERE id = (SELECT min(id) FROM job_events)",
        "seal altered": "UPDATE audit_seals SET row_count = 9 WHERE number = (SELECT max(number) FROM audit_seals)",
    }
    found: set[str] = set()
    for kind, statement in attacks.items():
        attack(sealed, statement)
        with sealed.as_default():
            kinds = {each.kind for each in verification.verify().breaks}
        assert kinds - found == {kind}
        found = kinds
    verified = console.run("verify_audit", "--json")
    assert verified.returncode == 1, verified.stderr
    assert {each["kind"] for each in json.loads(verified.stdout)["breaks"]} == found
    checked = console.run("check", "--deploy")
    assert checked.returncode == 1 and "opsconsole.E031" in checked.stderr
    assert "Inserted into the past" in checked.stderr
    attack(sealed, "TRUNCATE django_admin_log, audit_details")
    with sealed.as_default():
        assert "Deleted since the seal 1 (audit" in verification.verify().breaks[0].sentence


def attack(database: Database, statement: str) -> None:
    """Execute a statement as the owner, with the triggers off for a while."""
    with connected(database, OWNER) as session, session.transaction():
        for word in ("DISABLE", "ENABLE"):
            for table in TABLES:
                session.execute(f"ALTER TABLE {table} {word} TRIGGER USER")
            if word == "DISABLE":
                session.execute(statement)
                session.execute("SET CONSTRAINTS ALL IMMEDIATE")
