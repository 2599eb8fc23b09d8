"""Rights and defaults that the inspection finds on real tables: forced row-level security, privileges, sequences, isolation."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from django.db import connection

from jobs.inspection import Finding, access, catalog
from jobs.inspection.contract import JOBS
from tests.databases import CONTRACT, Database

ROLE = f"rights_{os.getpid()}"


@pytest.fixture
def _role(db: None) -> Iterator[None]:
    change(f"CREATE ROLE {ROLE}; GRANT USAGE ON SCHEMA public, opsconsole TO {ROLE}")
    yield
    change("RESET ROLE")


def change(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


def found(kind: str) -> list[Finding]:
    """Return what the role of this test is told about the table of jobs."""
    change(f"SET LOCAL ROLE {ROLE}")
    table = catalog.table("jobs")
    assert table
    findings = [each for each in access.inspect(JOBS, table, attached=True) if each.id == kind]
    change("RESET ROLE")
    return findings


@pytest.mark.usefixtures("_role")
def test_forced_row_security_is_found_where_the_role_owns_the_table() -> None:
    change(
        f"GRANT CREATE ON SCHEMA public TO {ROLE}; ALTER TABLE jobs OWNER TO {ROLE}; ALTER TABLE jobs ENABLE ROW LEVEL SECURITY"
    )
    assert found("row-security") == []
    change("ALTER TABLE jobs FORCE ROW LEVEL SECURITY")

    [finding] = found("row-security")
    assert finding.severity == "blocker" and "FORCE ROW LEVEL SECURITY" in finding.found
    bypass, policy = finding.action.split(" or, where that is not possible: ")
    change(policy)
    assert found("row-security") == []
    change(f"DROP POLICY opsconsole ON jobs; {bypass}")
    assert found("row-security") == []


@pytest.mark.usefixtures("_role")
def test_privileges_on_columns_alone_and_on_sequences_are_found() -> None:
    change(
        'CREATE SEQUENCE public."Numbers of jobs";'
        ' ALTER TABLE jobs ADD "number" bigint DEFAULT nextval(\'public."Numbers of jobs"\');'
        ' ALTER SEQUENCE public."Numbers of jobs" OWNED BY jobs."number";'
        f" GRANT SELECT, INSERT, UPDATE (status) ON jobs TO {ROLE}"
    )

    for_table, for_sequence = found("privileges")
    assert for_table.found == f"the role {ROLE} lacks UPDATE"
    assert '"Numbers of jobs"' in for_sequence.found and for_sequence.severity == "blocker"
    change(for_table.action)
    change(for_sequence.action)
    assert found("privileges") == []


def test_another_isolation_by_default_is_found_before_migrate(theirs: Database) -> None:
    theirs.sql(CONTRACT)
    theirs.sql(f"ALTER DATABASE {theirs.name} SET default_transaction_isolation = 'repeatable read'")

    def isolation() -> list[dict[str, str]]:
        # Before migrate, other settings of the session are not given either.
        settings = [each for each in theirs.inspect()[1] if each["id"] == "session-settings"]
        return [each for each in settings if "isolation" in each["found"]]

    [finding] = isolation()
    assert finding["severity"] == "warning"
    assert "default_transaction_isolation is repeatable read, not read committed" in finding["found"]

    theirs.sql(finding["action"].partition("or: ")[2].partition(";")[0])
    assert isolation() == []
