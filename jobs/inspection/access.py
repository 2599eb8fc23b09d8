"""Rights: who owns the tables, what the console's role may do, which rows it sees, what runs beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobs.inspection import catalog
from jobs.inspection.finding import Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobs.inspection.catalog import Table
    from jobs.inspection.contract import Contract


def inspect(contract: Contract, table: Table, *, attached: bool) -> Iterator[Finding]:
    yield from _privileges(contract, table)
    yield from _row_security(contract, table)
    yield from _triggers(contract, table)
    if not attached:
        yield from _ownership(contract, table)


def inspect_schema() -> Iterator[Finding]:
    """Whether migrate, which has something left to do, may create the console's own tables."""
    schema = catalog.value("SELECT current_schema()")
    if schema is None:
        yield Finding(
            id="schema-missing",
            severity=Severity.BLOCKER,
            subject="search_path",
            found=f"no schema of {catalog.value('SHOW search_path')} is there for this role",
            action="CREATE SCHEMA ...; or name one that exists: DATABASE_URL=...?options=-c%20search_path%3DYOUR_SCHEMA",
        )
    elif not catalog.value("SELECT has_schema_privilege(%s, 'CREATE')", [schema]):
        yield Finding(
            id="schema-create",
            severity=Severity.BLOCKER,
            subject=f"schema {schema}",
            found=f"the role {role()} may not create tables in it",
            action=f"GRANT CREATE, USAGE ON SCHEMA {schema} TO {role()};",
        )


def role() -> str:
    return str(catalog.value("SELECT quote_ident(current_user)"))


def _privileges(contract: Contract, table: Table) -> Iterator[Finding]:
    held = catalog.rows(
        "SELECT name, has_table_privilege(%s::oid, name) FROM unnest(%s::text[]) AS name",
        [table.oid, list(contract.privileges)],
    )
    missing = [name for name, granted in held if not granted]
    if missing:
        yield Finding(
            id="privileges",
            severity=Severity.BLOCKER,
            subject=contract.table,
            found=f"the role {role()} lacks {', '.join(missing)}",
            wanted=", ".join(contract.privileges),
            action=f"GRANT {', '.join(missing)} ON {table.schema}.{table.name} TO {role()};",
        )


def _ownership(contract: Contract, table: Table) -> Iterator[Finding]:
    if not table.owned:
        yield Finding(
            id="ownership",
            severity=Severity.BLOCKER,
            subject=contract.table,
            found=f"it belongs to {table.owner}, and only its owner can add columns and indexes",
            wanted=f"migrate run by {table.owner} or a member of that role",
            action=f"Run migrate with the DATABASE_URL of {table.owner}, or: GRANT {table.owner} TO {role()};",
        )
    schema = table.schema
    if not catalog.value("SELECT has_schema_privilege(%s, 'CREATE')", [schema]):
        yield Finding(
            id="schema-create",
            severity=Severity.BLOCKER,
            subject=f"schema {schema}",
            found=f"the role {role()} may not create indexes and functions in it, beside {contract.table}",
            action=f"GRANT CREATE, USAGE ON SCHEMA {schema} TO {role()};",
        )


def _row_security(contract: Contract, table: Table) -> Iterator[Finding]:
    if table.row_security and not _policy_shows_all(table):
        yield Finding(
            id="row-security",
            severity=Severity.BLOCKER,
            subject=contract.table,
            found=f"row-level security holds for the role {role()}: what no policy shows it is never recovered",
            wanted="a role that sees and changes each row",
            action=f"ALTER ROLE {role()} BYPASSRLS; or, where that is not to be had: "
            f"CREATE POLICY opsconsole ON {table.schema}.{table.name} TO {role()} USING (true);",
        )


def _policy_shows_all(table: Table) -> bool:
    """Whether a policy lets the role see and change each row, and no restrictive one takes that back."""
    policies = catalog.rows(
        "SELECT polpermissive, polcmd = '*' AND pg_get_expr(polqual, polrelid) = 'true'"
        "       AND coalesce(pg_get_expr(polwithcheck, polrelid), 'true') = 'true'"
        "  FROM pg_policy WHERE polrelid = %s"
        "   AND EXISTS (SELECT 1 FROM unnest(polroles) AS of_role"
        "                WHERE of_role = 0 OR pg_has_role(of_role, 'USAGE'))",
        [table.oid],
    )
    return (True, True) in policies and all(permissive for permissive, _ in policies)


def _triggers(contract: Contract, table: Table) -> Iterator[Finding]:
    names = catalog.rows(
        "SELECT tgname FROM pg_trigger WHERE tgrelid = %s AND NOT tgisinternal AND tgenabled <> 'D' ORDER BY tgname",
        [table.oid],
    )
    if names:
        yield Finding(
            id="triggers",
            severity=Severity.INFO,
            subject=contract.table,
            found=f"triggers of yours run when the console writes: {', '.join(name for (name,) in names)}",
            action="Nothing, unless one refuses or changes what a requeue writes (status, run_epoch, started_at).",
        )
