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
    if "INSERT" in contract.privileges:
        yield from _sequences(contract, table)
    yield from _row_security(contract, table)
    yield from _triggers(contract, table)
    if not attached:
        yield from _ownership(contract, table)


def inspect_schema(own: str, *, missing: list[str]) -> Iterator[Finding]:
    """Check whether the role may create what migrate creates: ``own`` tables, and contract tables that are ``missing``."""
    if catalog.value("SELECT to_regnamespace(quote_ident(%s)) IS NULL", [own]):
        yield from _may_create_schema(own)
    else:
        yield from _may_create_tables(own)
    if missing:
        # They are created beside others' tables.
        contract = catalog.rows(
            "SELECT name FROM unnest(current_schemas(false)) WITH ORDINALITY AS path (name, place)"
            " WHERE name <> %s ORDER BY place LIMIT 1",
            [own],
        )
        for (schema,) in contract:
            yield from _may_create_tables(schema)


def _may_create_schema(schema: str) -> Iterator[Finding]:
    if not catalog.value("SELECT has_database_privilege(current_database(), 'CREATE')"):
        database = catalog.value("SELECT quote_ident(current_database())")
        yield Finding(
            id="schema-missing",
            severity=Severity.BLOCKER,
            subject=f"schema {schema}",
            found=f"it does not exist, and the role {role()} may not create schemas in the database {database}",
            action=f"GRANT CREATE ON DATABASE {database} TO {role()}; or, as an administrator: CREATE SCHEMA {catalog.quoted(schema)} "
            f"AUTHORIZATION {role()};",
        )


def _may_create_tables(schema: str) -> Iterator[Finding]:
    if not catalog.value("SELECT has_schema_privilege(%s, 'CREATE')", [schema]):
        yield Finding(
            id="schema-create",
            severity=Severity.BLOCKER,
            subject=f"schema {schema}",
            found=f"the role {role()} may not create tables in it",
            action=f"GRANT CREATE, USAGE ON SCHEMA {catalog.quoted(schema)} TO {role()};",
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
            action=f"GRANT {', '.join(missing)} ON {catalog.place(table)} TO {role()};",
        )


def _sequences(contract: Contract, table: Table) -> Iterator[Finding]:
    """Find the sequences behind the defaults of its columns that the role may not use: then it can insert no row."""
    missing = catalog.rows(
        "SELECT format('%%I.%%I', nspname, relname) FROM pg_depend d JOIN pg_class c ON c.oid = d.objid"
        "  JOIN pg_namespace n ON n.oid = relnamespace JOIN pg_attribute a ON a.attrelid = refobjid AND a.attnum = refobjsubid"
        " WHERE d.classid = 'pg_class'::regclass AND refobjid = %s AND deptype = 'a' AND attidentity = ''"
        "   AND CASE relkind WHEN 'S' THEN NOT has_sequence_privilege(c.oid, 'USAGE') END ORDER BY 1",
        [table.oid],
    )
    for (sequence,) in missing:
        yield Finding(
            id="privileges",
            severity=Severity.BLOCKER,
            subject=contract.table,
            found=f"the role {role()} may not use {sequence}, from which the table takes its ids",
            wanted="USAGE on the sequence",
            action=f"GRANT USAGE ON SEQUENCE {sequence} TO {role()};",
        )


def _ownership(contract: Contract, table: Table) -> Iterator[Finding]:
    if not table.owned:
        yield Finding(
            id="ownership",
            severity=Severity.BLOCKER,
            subject=contract.table,
            found=f"it belongs to {table.owner}, and only the owner can add columns and indexes",
            wanted=f"migrate run by {table.owner} or a member of that role",
            action=f"Run migrate with the DATABASE_URL of {table.owner}, or: GRANT {catalog.quoted(table.owner)} TO {role()};",
        )
    schema = table.schema
    if not catalog.value("SELECT has_schema_privilege(%s, 'CREATE')", [schema]):
        yield Finding(
            id="schema-create",
            severity=Severity.BLOCKER,
            subject=f"schema {schema}",
            found=f"the role {role()} may not create indexes and functions in it, beside {contract.table}",
            action=f"GRANT CREATE, USAGE ON SCHEMA {catalog.quoted(schema)} TO {role()};",
        )


def _row_security(contract: Contract, table: Table) -> Iterator[Finding]:
    if table.row_security and not _policy_shows_all(table):
        forced = " (FORCE ROW LEVEL SECURITY: also where it owns the table)" if table.owned else ""
        yield Finding(
            id="row-security",
            severity=Severity.BLOCKER,
            subject=contract.table,
            found=f"row-level security applies to the role {role()}{forced}: rows that no policy shows to it are never recovered",
            wanted="a role that can see and change every row",
            action=f"ALTER ROLE {role()} BYPASSRLS; or, where that is not possible: "
            f"CREATE POLICY opsconsole ON {catalog.place(table)} TO {role()} USING (true);",
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
