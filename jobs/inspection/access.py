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
    """Whether migrate may create the console's own tables."""
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
            found=f"the role {_role()} may not create tables in it",
            action=f"GRANT CREATE, USAGE ON SCHEMA {schema} TO {_role()};",
        )


def _role() -> str:
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
            found=f"the role {_role()} lacks {', '.join(missing)}",
            wanted=", ".join(contract.privileges),
            action=f"GRANT {', '.join(missing)} ON {table.schema}.{table.name} TO {_role()};",
        )


def _ownership(contract: Contract, table: Table) -> Iterator[Finding]:
    if not table.owned:
        yield Finding(
            id="ownership",
            severity=Severity.BLOCKER,
            subject=contract.table,
            found=f"it belongs to {table.owner}, and only its owner can add columns and indexes",
            wanted=f"migrate run by {table.owner} or a member of that role",
            action=f"Run migrate with the DATABASE_URL of {table.owner}, or: GRANT {table.owner} TO {_role()};",
        )
    schema = table.schema
    if not catalog.value("SELECT has_schema_privilege(%s, 'CREATE')", [schema]):
        yield Finding(
            id="schema-create",
            severity=Severity.BLOCKER,
            subject=f"schema {schema}",
            found=f"the role {_role()} may not create indexes and functions in it, beside {contract.table}",
            action=f"GRANT CREATE, USAGE ON SCHEMA {schema} TO {_role()};",
        )


def _row_security(contract: Contract, table: Table) -> Iterator[Finding]:
    if table.row_security:
        yield Finding(
            id="row-security",
            severity=Severity.BLOCKER,
            subject=contract.table,
            found=f"row-level security holds for the role {_role()}: rows that no policy shows it stay unrecovered, unseen",
            wanted="a role that sees and changes each row",
            action=f"ALTER ROLE {_role()} BYPASSRLS; or CREATE POLICY opsconsole ON {table.schema}.{table.name} "
            f"TO {_role()} USING (true) WITH CHECK (true); and set the role's BYPASSRLS or this policy aside knowingly.",
        )


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
