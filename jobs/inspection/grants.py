"""Privileges of others: by default privileges, on contract tables and on the console's own, and row-level security."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import connection

from jobs.inspection import catalog, names
from jobs.inspection.access import role
from jobs.inspection.finding import Finding, Severity
from opsconsole.kit import inherited_grants, own_schema
from opsconsole.kit.counting import exactly

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jobs.inspection.catalog import Table
    from jobs.inspection.contract import Contract
    from opsconsole.kit.inherited_grants import Grant

KINDS = {"TABLE": "tables", "SEQUENCE": "sequences", "ROUTINE": "functions", "SCHEMA": "schemas"}


def inspect_defaults() -> Iterator[Finding]:
    """Report who gets privileges on new tables, sequences and functions without being named for them."""
    for default in inherited_grants.defaults(connection):
        where = f"in the schema {default.schema}" if default.schema else "in every schema"
        yield Finding(
            id="default-privileges",
            severity=Severity.INFO,
            subject=f"default privileges of {default.giver}",
            found=f"{default.grantee} gets privileges on all new {KINDS[default.kind]} {where}",
            action="Nothing: migrate takes them back from what it creates, in the same transaction. For tables of yours: "
            f"{default.revoke};",
        )


def inspect_own() -> Iterator[Finding]:
    """Report what others may do with the console's own tables, once there are some."""
    place = names.history_place()
    if place is None:
        return
    yield from _place(place)
    own = set(names.own_tables())
    grants = [grant for grant in _grants_of_others() if _table(grant, place) in own]
    for grantee in sorted({grant.grantee for grant in grants}):
        tables = [grant.object for grant in grants if grant.grantee == grantee]
        shown = ", ".join(tables[:3]) + (", ..." if len(tables) > 3 else "")
        inherited = _is_nobody_in_particular(grantee)
        yield Finding(
            id="own-tables-granted",
            severity=Severity.WARNING if inherited else Severity.INFO,
            subject=f"schema {place}",
            found=f"{grantee} has privileges on {exactly(len(tables), 'table')} of the console ({shown})"
            + ("; users, password hashes and sessions are in such tables" if inherited else ""),
            wanted="nobody but the owner and the console's role" if inherited else "",
            action=f"REVOKE ALL ON {', '.join(tables)} FROM {grantee};"
            if inherited
            else "Nothing, if you granted them, for example to workers that use SQL (docs/workers.md).",
        )


def inspect(contract: Contract, table: Table) -> Iterator[Finding]:
    """Report what others may do with a contract table, and whom row-level security concerns."""
    yield from _row_security(contract, table)
    protected = catalog.value("SELECT relrowsecurity FROM pg_class WHERE oid = %s", [table.oid])
    for grant in _grants_of_others([table.oid]):
        if grant.kind != "TABLE" or not _is_nobody_in_particular(grant.grantee) or protected:
            continue
        yield Finding(
            id="table-open",
            severity=Severity.WARNING,
            subject=contract.table,
            found=f"{grant.grantee} may {grant.privileges} on {grant.object}, and no row-level security limits that: where "
            "an API serves this schema, such as PostgREST, so may everybody with its public key",
            wanted="privileges that are granted to roles by name, or row-level security",
            action=f"{grant.revoke.removesuffix(' CASCADE')}; or: ALTER TABLE {grant.object} ENABLE ROW LEVEL SECURITY;",
        )


def _row_security(contract: Contract, table: Table) -> Iterator[Finding]:
    enabled = catalog.value("SELECT relrowsecurity FROM pg_class WHERE oid = %s", [table.oid])
    if enabled and not table.row_security:
        yield Finding(
            id="row-security-passed",
            severity=Severity.INFO,
            subject=contract.table,
            found=f"row-level security is on, and does not apply to the role {role()}: the console sees every row",
        )


def _place(place: str) -> Iterator[Finding]:
    if place != own_schema.name():
        yield Finding(
            id="own-schema",
            severity=Severity.INFO,
            subject=f"schema {place}",
            found="the console's own tables are beside yours, where an earlier version created them",
            action=f"Nothing; or, to move them to the schema {own_schema.name()}: python manage.py move_tables",
        )
    if catalog.value("SELECT has_schema_privilege('public', %s, 'CREATE')", [place]):
        schema = own_schema.quoted(place)
        yield Finding(
            id="schema-open",
            severity=Severity.WARNING,
            subject=f"schema {place}",
            found="everybody may create objects in it, and the console's functions, which run with the rights of their owner, "
            "look for operators there",
            wanted="a schema in which only the owner creates anything",
            action=f"REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC; or: python manage.py move_tables",
        )


def _grants_of_others(oids: list[int] | None = None) -> Iterable[Grant]:
    console = role()
    return [grant for grant in inherited_grants.grants(connection, oids) if grant.grantee != console]


def _table(grant: Grant, place: str) -> str:
    prefix = str(catalog.value("SELECT quote_ident(%s)", [place])) + "."
    return grant.object.removeprefix(prefix).strip('"') if grant.kind == "TABLE" else ""


def _is_nobody_in_particular(grantee: str) -> bool:
    return grantee == "PUBLIC" or grantee in inherited_grants.named_by_defaults(connection)
