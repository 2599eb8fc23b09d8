"""Tests of the sessions' settings behind a pooler: ``migrate`` gives them to the role, and ``check`` reads them back."""

from __future__ import annotations

import psycopg

from tests.field.console import Console

WANTED = {
    "default_transaction_isolation": "read committed",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "1min",
    "jit": "off",
}


def test_check_reads_back_what_migrate_gave_to_the_role(console: Console) -> None:
    # A copy of a database does not have the settings of the original.
    told = console.run("check")
    assert told.returncode == 0
    assert "lock_timeout is 0, not 10s" in told.stderr
    advice = f'ALTER ROLE "field_console" IN DATABASE "{console.database.name}" SET lock_timeout = \'10s\''
    assert advice in told.stderr

    migrated = console.run("migrate")
    assert migrated.returncode == 0 and advice in migrated.stdout
    console.database.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )

    told = console.run("check")
    assert "W006" not in told.stderr
    with psycopg.connect(console.environment["DATABASE_URL"], autocommit=True) as page:
        shown = {name: page.execute(f"SHOW {name}").fetchone() for name in WANTED}
    assert shown == {name: (value,) for name, value in WANTED.items()}
    assert "ALTER ROLE" not in console.run("migrate").stdout


def test_role_of_the_console_can_use_its_tables_and_not_change_them(console: Console) -> None:
    with psycopg.connect(console.environment["DATABASE_URL"], autocommit=True) as page:
        assert page.execute("SELECT count(*) FROM jobs").fetchone() == (0,)
        for refused in (
            "DROP TABLE jobs",
            "ALTER TABLE opsconsole.sweeps ADD COLUMN x int",
            "DELETE FROM jobs",
        ):
            try:
                page.execute(refused)
            except psycopg.errors.InsufficientPrivilege:
                continue
            raise AssertionError(f"{refused} was accepted")
