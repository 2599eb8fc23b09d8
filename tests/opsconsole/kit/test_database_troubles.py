"""Tests of what database errors mean, on the errors of a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import DatabaseError, Error, OperationalError, connection, transaction

from opsconsole.kit import database_troubles, schema_version
from opsconsole.kit.database_troubles import Trouble, trouble_behind
from opsconsole.kit.schema_version import NotMigrated

pytestmark = pytest.mark.django_db


def error_of(*statements: str) -> Error:
    with pytest.raises(Error) as raised, transaction.atomic(), connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    return raised.value


def raised_with(state: str) -> Error:
    return error_of(f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{state}'; END $$")


@pytest.fixture
def older_schema() -> Iterator[None]:
    """Forget that the newest migration was applied, as in a database that was migrated by older code."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM django_migrations WHERE (app, name) = ('jobs', '0006_functions_and_triggers')"
        )
    schema_version.look_again()
    yield
    schema_version._version.missing = False


@pytest.mark.parametrize(
    ("state", "trouble"),
    [
        ("25006", Trouble.READ_ONLY),
        ("53100", Trouble.DISK_FULL),
        ("42501", Trouble.NOT_GRANTED),
        ("55P03", Trouble.LOCKED),
        ("53300", Trouble.AWAY),
        ("57P01", Trouble.AWAY),
        ("08006", Trouble.AWAY),
        ("57014", Trouble.TOO_SLOW),
        ("25P04", Trouble.TOO_SLOW),
        ("25P03", Trouble.AWAY),
        ("40P01", Trouble.DEADLOCK),
        ("40001", Trouble.CONFLICT),
        ("54001", None),
        ("23505", None),
        ("42P01", None),
        ("P0001", None),
    ],
)
def test_error_names_the_state_of_the_database(state: str, trouble: Trouble | None) -> None:
    assert trouble_behind(raised_with(state)) is trouble


def test_lost_connection_and_other_exceptions() -> None:
    assert trouble_behind(OperationalError("the connection is lost")) is Trouble.AWAY
    assert trouble_behind(DatabaseError("no cause")) is None
    assert trouble_behind(ValueError()) is None
    assert trouble_behind(None) is None


@pytest.mark.usefixtures("older_schema")
@pytest.mark.parametrize(
    "statement", ["SELECT nothing FROM jobs", "SELECT * FROM nowhere", "SELECT nofunction()"]
)
def test_unknown_name_means_missing_migrations_where_some_are_missing(statement: str) -> None:
    error = error_of(statement)
    assert trouble_behind(error) is Trouble.NOT_MIGRATED
    schema_version._version.missing = False


def test_unknown_name_in_a_migrated_database_is_an_error_of_ours() -> None:
    assert trouble_behind(error_of("SELECT nothing FROM jobs")) is None


@pytest.mark.parametrize(
    ("change", "statement"),
    [
        ("ALTER TABLE jobs RENAME COLUMN error_message TO note", "SELECT error_message FROM jobs"),
        ("ALTER TABLE jobs DROP COLUMN run_epoch", "SELECT run_epoch FROM jobs"),
        ("ALTER TABLE worker_heartbeats RENAME TO beats", "SELECT * FROM worker_heartbeats"),
    ],
)
def test_change_of_their_tables_is_named(change: str, statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(change)
    assert trouble_behind(error_of(statement)) is Trouble.TABLES_CHANGED


@pytest.mark.usefixtures("older_schema")
def test_missing_migration_is_required_until_it_is_applied() -> None:
    with pytest.raises(NotMigrated) as raised:
        schema_version.require()
    assert trouble_behind(raised.value) is Trouble.NOT_MIGRATED
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO django_migrations (app, name, applied) VALUES ('jobs', '0006_functions_and_triggers', now())"
        )
    schema_version.look_again()
    schema_version.require()


def test_read_only_transaction_refuses_changes() -> None:
    database_troubles.require_writable()
    with connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION READ ONLY")
    with pytest.raises(database_troubles.ReadOnlyDatabase) as raised:
        database_troubles.require_writable()
    assert trouble_behind(raised.value) is Trouble.READ_ONLY
