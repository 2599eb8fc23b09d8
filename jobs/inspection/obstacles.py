"""Obstacles to statements, as far as the catalogue tells: rules, generated columns, partitions, publications."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobs.inspection import catalog
from jobs.inspection.finding import Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobs.inspection.catalog import Table
    from jobs.inspection.contract import Contract


def inspect(contract: Contract, table: Table, *, attached: bool) -> Iterator[Finding]:
    yield from _partition(contract, table)
    yield from _rules(contract, table)
    yield from _generated(contract, table)
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


def _generated(contract: Contract, table: Table) -> Iterator[Finding]:
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
    published = catalog.rows(
        "SELECT DISTINCT quote_ident(pubname) FROM pg_publication_tables WHERE schemaname = %s AND tablename = %s ORDER BY 1",
        [table.schema, table.name],
    )
    added = [wanted for wanted in contract.columns if wanted.ours and wanted.name not in table.columns]
    if not published or not added:
        return
    columns = ", ".join(
        f"ADD COLUMN IF NOT EXISTS {each.name} {each.types[0]}"
        + (f" NOT NULL DEFAULT {each.default}" if each.default else "")
        for each in added
    )
    yield Finding(
        id="publication",
        severity=Severity.WARNING,
        subject=contract.table,
        found=f"it is published by {', '.join(name for (name,) in published)}: a subscriber that lacks the columns which migrate "
        "adds stops replicating at the first change after that",
        wanted="these columns on each subscriber first",
        action=f"On each subscriber, before migrate: ALTER TABLE {catalog.place(table)} {columns};",
    )
