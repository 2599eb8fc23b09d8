"""Obstacles to statements, as far as the catalogue tells: rules, generated columns, partitions, publications."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobs.inspection import catalog
from jobs.inspection.finding import Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobs.inspection.catalog import Table
    from jobs.inspection.contract import Contract, WantedColumn

_ORDER = " ORDER BY 1"
# Before PostgreSQL 15, no publication lists columns, and the catalogue has no prattrs.
_PUBLICATIONS = f"""
SELECT DISTINCT quote_ident(p.pubname), to_jsonb(r) ->> 'prattrs' IS NOT NULL
  FROM pg_publication_tables t JOIN pg_publication p USING (pubname) JOIN pg_class c ON c.relname = t.tablename
  JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = t.schemaname
  LEFT JOIN pg_publication_rel r ON r.prpubid = p.oid AND r.prrelid = c.oid
 WHERE t.schemaname = %s AND t.tablename = %s{_ORDER}"""


def inspect(contract: Contract, table: Table, *, attached: bool) -> Iterator[Finding]:
    yield from _partition(contract, table)
    yield from _inheriting(contract, table)
    yield from _rules(contract, table)
    yield from generated(contract, table)
    yield from _identity(contract, table)
    if not attached:
        yield from _publications(contract, table)


def _partition(contract: Contract, table: Table) -> Iterator[Finding]:
    parents = catalog.rows(
        "SELECT inhparent::regclass::text FROM pg_inherits JOIN pg_class ON oid = inhrelid"
        " WHERE inhrelid = %s AND relispartition",
        [table.oid],
    )
    for (parent,) in parents:
        yield Finding(
            id="table-partition",
            severity=Severity.BLOCKER,
            subject=contract.table,
            found=f"{catalog.place(table)} is a partition of {parent}: jobs in other partitions would never be seen",
            wanted="the partitioned table itself",
            action=f"Let the search path or OPSCONSOLE_MAPPING name {parent}.",
        )


def _inheriting(contract: Contract, table: Table) -> Iterator[Finding]:
    """Find tables that inherit from it, as partitions did before PostgreSQL 10: indexes and keys do not reach them."""
    if table.kind != "r":
        return
    children = catalog.rows(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s ORDER BY 1 LIMIT 3",
        [table.oid],
    )
    if children:
        yield Finding(
            id="table-inherited",
            severity=Severity.WARNING,
            subject=contract.table,
            found=f"tables such as {', '.join(name for (name,) in children)} inherit from it. Their rows are read and changed, "
            "but its indexes and its primary key do not reach them: each sweep reads them whole, and an id may be there twice",
            wanted="a partitioned table, or one table",
            action="Nothing, if they are small and ids are unique across all of them.",
        )


def _rules(contract: Contract, table: Table) -> Iterator[Finding]:
    rules = catalog.rows(
        "SELECT quote_ident(rulename) FROM pg_rewrite"
        " WHERE ev_class = %s AND rulename <> '_RETURN' AND ev_enabled <> 'D' AND ev_type IN ('2', '3', '4') ORDER BY rulename",
        [table.oid],
    )
    for (name,) in rules:
        yield Finding(
            id="rule",
            severity=Severity.BLOCKER,
            subject=contract.table,
            found=f"the rule {name} rewrites statements that change rows, so that they may do nothing and say that they succeeded",
            wanted="no rule for INSERT, UPDATE or DELETE",
            action=f"ALTER TABLE {catalog.place(table)} DISABLE RULE {name};",
        )


def generated(contract: Contract, table: Table) -> Iterator[Finding]:
    """Find columns that the console writes and that are computed from others."""
    present = {contract.actual(wanted): wanted for wanted in contract.columns}
    generated = catalog.rows(
        "SELECT attname, quote_ident(attname), attgenerated = 's' FROM pg_attribute"
        " WHERE attrelid = %s AND attgenerated <> '' ORDER BY attnum",
        [table.oid],
    )
    for name, quoted, is_stored in generated:
        if name in present:
            drop = f"ALTER TABLE {catalog.place(table)} ALTER COLUMN {quoted} DROP EXPRESSION;"
            yield Finding(
                id="column-generated",
                severity=Severity.BLOCKER,
                subject=f"{contract.table}.{name}",
                found="it is generated from other columns, and can't be written",
                wanted="a column that can be written",
                action=f"{drop} From then on your programs have to write it."
                if is_stored
                else "Map another column.",
            )


def _publications(contract: Contract, table: Table) -> Iterator[Finding]:
    """Find what replication says to more columns. A publication that lists columns does not send others."""
    added = [wanted for wanted in contract.columns if wanted.ours and wanted.name not in table.columns]
    published = catalog.rows(_PUBLICATIONS, [table.schema, table.name])
    whole = [name for name, listed in published if not listed]
    if whole and added:
        yield _stopped_subscriber(contract, table, whole, added)
    listing = [name for name, listed in published if listed]
    whole_row = catalog.value("SELECT relreplident = 'f' FROM pg_class WHERE oid = %s", [table.oid])
    if listing and added and whole_row:
        yield Finding(
            id="publication-columns",
            severity=Severity.BLOCKER,
            subject=contract.table,
            found=f"its replica identity is the whole row, and {', '.join(listing)} lists columns: once there are more, PostgreSQL "
            "refuses every UPDATE and DELETE, also of your own programs",
            wanted="a replica identity that needs no other column, or a publication of all columns",
            action=f"ALTER TABLE {catalog.place(table)} REPLICA IDENTITY DEFAULT; (needs a primary key, which the publication lists).",
        )


def _identity(contract: Contract, table: Table) -> Iterator[Finding]:
    """Find a table that is published and has nothing that names a row: PostgreSQL refuses to change one there."""
    lacks = catalog.value(
        "SELECT relreplident = 'n' OR relreplident = 'd' AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = c.oid AND indisprimary)"
        " FROM pg_class c WHERE oid = %s",
        [table.oid],
    )
    published = [
        name
        for name, _ in catalog.rows(
            f"{_PUBLICATIONS.removesuffix(_ORDER)} AND (pubupdate OR pubdelete){_ORDER}",
            [table.schema, table.name],
        )
    ]
    if lacks and published:
        yield Finding(
            id="replica-identity",
            severity=Severity.BLOCKER,
            subject=contract.table,
            found=f"it is published by {', '.join(published)} and has no replica identity: PostgreSQL refuses to change its rows",
            wanted="a primary key, or the whole row as its replica identity",
            action=f"ALTER TABLE {catalog.place(table)} REPLICA IDENTITY FULL;",
        )


def _stopped_subscriber(
    contract: Contract, table: Table, published: list[str], added: list[WantedColumn]
) -> Finding:
    columns = ", ".join(
        f"ADD COLUMN IF NOT EXISTS {each.name} {each.types[0]}"
        + (f" NOT NULL DEFAULT {each.default}" if each.default else "")
        for each in added
    )
    return Finding(
        id="publication",
        severity=Severity.WARNING,
        subject=contract.table,
        found=f"it is published by {', '.join(published)}: a subscriber that lacks the columns which migrate "
        "adds stops replicating at the first change after that",
        wanted="these columns on each subscriber first",
        action=f"On each subscriber, before migrate: ALTER TABLE {catalog.place(table)} {columns};",
    )
