"""Tests of ``migrate`` with one role and with two: who gets which session settings and privileges."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from django.conf import settings
from django.db import connection

from opsconsole.kit import session_defaults
from opsconsole.kit.session_defaults import DEFAULTS, Default, Difference
from tests.databases import Database

SETTINGS = """
SELECT unnest(setconfig) FROM pg_db_role_setting
  JOIN pg_database AS d ON d.oid = setdatabase JOIN pg_roles AS r ON r.oid = setrole
 WHERE datname = current_database() AND rolname = %s
"""


@pytest.fixture
def role(theirs: Database) -> Iterator[str]:
    name = f"console_{uuid.uuid4().hex[:8]}"
    theirs.sql(f"CREATE ROLE {name} LOGIN")
    yield name
    theirs.sql(f"DROP OWNED BY {name}; DROP ROLE {name}")


def given(database: Database, role: str) -> set[str]:
    return {setting for (setting,) in database.sql(SETTINGS, [role])}


def test_one_role_that_serves_only_the_console_gets_the_settings(theirs: Database) -> None:
    done = theirs.manage("migrate")
    assert done.returncode == 0, done.stderr
    assert "lock_timeout=10s" in given(theirs, "postgres")
    assert "SET lock_timeout = '10s';" in done.stdout
    assert theirs.sql("SELECT mode FROM recovery_control") == [("armed",)]


def test_unfit_defaults_of_the_database_do_not_hold_for_the_console(theirs: Database) -> None:
    """With ``array_nulls`` off, what is missing within a list is stored as the text NULL."""
    [(name,)] = theirs.sql("SELECT current_database()")
    theirs.sql(f"ALTER DATABASE \"{name}\" SET idle_session_timeout = '30s'")
    theirs.sql(f"ALTER DATABASE \"{name}\" SET statement_timeout = '5s'")
    theirs.sql(f"ALTER DATABASE \"{name}\" SET transaction_timeout = '60s'")
    theirs.sql(f'ALTER DATABASE "{name}" SET array_nulls = off')
    done = theirs.manage("migrate")
    assert done.returncode == 0, done.stderr
    unlimited = {"idle_session_timeout=0", "statement_timeout=0", "transaction_timeout=0"}
    assert unlimited | {"array_nulls=on"} <= given(theirs, "postgres")


def test_role_that_owns_other_tables_is_left_alone(theirs: Database) -> None:
    theirs.sql("CREATE TABLE customers (id int)")
    refused = theirs.manage("migrate")
    assert refused.returncode == 1
    assert "other programs have tables here, such as public.customers" in refused.stderr
    done = theirs.manage("migrate", OPSCONSOLE_CREATE_JOBS="1")
    assert done.returncode == 0, done.stderr
    assert given(theirs, "postgres") == set()
    assert theirs.sql("SELECT mode FROM recovery_control") == [("observe",)]
    assert "also owns tables that are not the console's" in done.stderr
    assert "SET idle_in_transaction_session_timeout = '60s';" in done.stderr


def test_second_role_gets_settings_and_privileges(theirs: Database, role: str) -> None:
    theirs.sql("CREATE TABLE customers (id int)")
    owner = {"OPSCONSOLE_OWNER_DATABASE_URL": theirs.url(), "OPSCONSOLE_CREATE_JOBS": "1"}
    done = theirs.manage("migrate", user=role, **owner)
    assert done.returncode == 0, done.stderr
    assert "lock_timeout=10s" in given(theirs, role)
    assert given(theirs, "postgres") == set()
    rights = "SELECT has_table_privilege(%s, %s, %s)"
    assert theirs.value(rights, [role, "sweeps", "DELETE"])
    assert not theirs.value(rights, [role, "jobs", "DELETE"])
    assert not theirs.value(rights, [role, "customers", "SELECT"])
    again = theirs.manage("migrate", user=role, **owner)
    assert "GRANT" not in again.stdout and "ALTER ROLE" not in again.stdout
    assert theirs.manage("sync_schedules", user=role).returncode == 0


def test_settings_of_the_url_are_read_back(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pooler may drop the start parameter: then the URL asks for something that the session does not have."""
    connection.ensure_connection()
    monkeypatch.setitem(
        connection.settings_dict, "OPTIONS", {"options": r"-c search_path=theirs,\ public -c lock_timeout=3s"}
    )
    [path, *others] = [each for each in session_defaults.differences() if each.wanted.name == "search_path"]
    assert path.current == 'opsconsole, "$user", public' and not others
    name = settings.DATABASES["default"]["NAME"]
    assert session_defaults.statements([path]) == [
        f'ALTER ROLE "postgres" IN DATABASE "{name}" SET search_path = "theirs", "public"'
    ]


@pytest.mark.parametrize(
    ("name", "current", "fits"),
    [
        ("lock_timeout", "0", False),
        ("lock_timeout", "5000", True),
        ("lock_timeout", "600000", False),
        ("default_transaction_isolation", "read committed", True),
        ("default_transaction_isolation", "serializable", False),
        ("idle_session_timeout", "0", True),
        ("idle_session_timeout", "30000", False),
        ("idle_session_timeout", "600000", True),
        ("statement_timeout", "0", True),
        ("statement_timeout", "5000", False),
        ("statement_timeout", "30000", True),
        ("transaction_timeout", "60000", False),
    ],
)
def test_stricter_settings_fit_and_missing_ones_do_not(name: str, current: str, fits: bool) -> None:
    [default] = [each for each in DEFAULTS if each.name == name]
    assert default.fits(current) is fits


def test_list_of_names_fits_with_other_blanks_and_quotes() -> None:
    assert Default("search_path", "theirs, public", "").fits('"theirs",public')
    assert Difference(Default("x", "1", "because"), "").sentence == "x is empty, not 1: because"
