"""Access rights: the owners of the tables, the privileges of the console's role, the rows it sees, and triggers."""

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
    """Check whether the role may create the console's tables, while there are migrations to apply."""
    schema = catalog.value("SELECT current_schema()")
    if schema is None:
        yield Finding(
            id="schema-missing",
            severity=Severity.BLOCKER,
            subject="search_path",
            found=f"this role can use no schema of the search path {catalog.value('SHOW search_path')}",
            action=f"CREATE SCHEMA ...; or name an existing one: ALTER ROLE {role()} IN DATABASE ... SET search_path = YOUR_SCHEMA;",
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
            found=f"it belongs to {table.owner}, and only the owner can add columns and indexes",
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
            found=f"row-level security applies to the role {role()}: rows that no policy shows to it are never recovered",
            wanted="a role that can see and change every row",
            action=f"ALTER ROLE {role()} BYPASSRLS; or, where that is not possible: "
            f"CREATE POLICY opsconsole ON {table.schema}.{table.name} TO {role()} USING (true);",
        )


def _policy_shows_all(table: Table) -> bool:
    """Tell whether a policy lets the role see and change every row and no restrictive policy limits that."""
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
            found=f"your triggers run when the console writes: {', '.join(name for (name,) in names)}",
            action="Nothing, unless a trigger refuses or changes what a requeue writes (status, run_epoch, started_at).",
        )
