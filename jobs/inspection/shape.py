"""The shape of tables and columns: whether they exist, have an accepted type and accept what the console writes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from django.db import connection

from jobs.inspection import catalog, column_sql, search_path, taken_columns
from jobs.inspection.contract import TEXT, Contract, WantedColumn
from jobs.inspection.finding import Finding, Severity
from jobs.models.absent_columns import LOST
from jobs.models.columns import column
from jobs.recovery.rescue import QUARANTINED_MESSAGE, RECOVERED_MESSAGE
from opsconsole.kit import attachment, mapping, own_schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobs.inspection.catalog import Column, Table

ORDINARY_TABLE, PARTITIONED_TABLE = "r", "p"
KINDS = {"v": "a view", "m": "a materialized view", "p": "a partitioned table", "f": "a foreign table"}


def inspect(contract: Contract, table: Table | None, *, attached: bool) -> Iterator[Finding]:
    """Check the table and its columns. ``attached``: migrate has already completed the table."""
    name = contract.table
    if table is None:
        yield _without_table(contract, attached=attached)
        return
    mend = (
        "Name the table itself in the file that OPSCONSOLE_MAPPING names."
        if _is_theirs(contract)
        else "Put the schema of the table itself first in the search path."
    )
    if table.kind != ORDINARY_TABLE and not _has_partitions_that_fit(contract, table):
        yield Finding(
            id="table-kind",
            severity=Severity.BLOCKER,
            subject=name,
            found=f"{table.schema}.{table.name} is {KINDS.get(table.kind, 'not a table')}",
            wanted="an ordinary table, to which columns can be added and on which indexes can be built concurrently; jobs may "
            "also be a partitioned table with a unique index on the id alone",
            action=mend,
        )
        return
    yield Finding(
        id="table-found",
        severity=Severity.OK,
        subject=name,
        found=f"found as {table.schema}.{table.name}, owner {table.owner}, about {table.estimate:,} rows",
    )
    for wanted in contract.columns:
        yield from _column(contract, wanted, table, attached)
    yield from _not_ours(contract, table)


def _without_table(contract: Contract, *, attached: bool) -> Finding:
    if _is_theirs(contract):
        found = f"there is no table {contract.sql}, as the mapping names it"
        action = "Correct the schema and the name in the file that OPSCONSOLE_MAPPING names."
    elif attached:
        found = "there is no such table on the search path, although migrate was run"
        action = "Let sessions look where it is, or put it back from a backup." + _elsewhere(contract.table)
    else:
        found = "there is no such table on the search path"
        action = "migrate creates it." + _elsewhere(contract.table)
    severity = Severity.BLOCKER if attached or _is_theirs(contract) else Severity.INFO
    return Finding(id="table-missing", severity=severity, subject=contract.table, found=found, action=action)


def _elsewhere(name: str) -> str:
    """Return how the console finds a table of this name in a schema that its sessions don't search."""
    places = catalog.rows(
        "SELECT nspname::text FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE relname = %s AND relkind IN ('r', 'p') AND nspname NOT LIKE 'pg\\_%%' ORDER BY 1",
        [name],
    )
    ways = [
        f" Or let sessions find that of {catalog.quoted(schema)}: {search_path.leading_to(schema)}"
        for (schema,) in places
    ]
    return "".join(ways)


def _has_partitions_that_fit(contract: Contract, table: Table) -> bool:
    """Tell whether this is a partitioned table of jobs in which an id names one row."""
    mapped = mapping.current().jobs
    return (
        contract.table == mapped.contract
        and table.kind == PARTITIONED_TABLE
        and bool(
            catalog.rows(
                "SELECT 1 FROM pg_index WHERE indrelid = %s AND indisunique AND indpred IS NULL AND indnkeyatts = 1"
                " AND indkey[0] = (SELECT attnum FROM pg_attribute WHERE attrelid = indrelid AND attname = %s)",
                [table.oid, mapped.column("id")],
            )
        )
    )


def _is_theirs(contract: Contract) -> bool:
    """Tell whether the mapping says that this table exists: migrate does not create it."""
    table = mapping.current().table(contract.table)
    return table.differs and not table.absent


def _column(contract: Contract, wanted: WantedColumn, table: Table, attached: bool) -> Iterator[Finding]:
    present = table.columns.get(contract.actual(wanted))
    mapped = mapping.current().table(contract.table)
    if wanted.name in mapped.absent_columns:
        yield _absent(contract, wanted)
    if mapped.lacks(wanted.name):
        return
    if present is None:
        if attached or not (wanted.ours or wanted.name in mapped.absent_columns):
            yield _missing(contract, wanted, table)
        return
    if _is_mapped_queue(contract, wanted):
        return
    misfit = present.type not in contract.accepted(wanted)
    if (
        wanted.ours
        and not attached
        and present.name not in attachment.added_columns(connection, contract.sql)
    ):
        yield taken_columns.finding(contract, present, misfit=misfit)
    elif misfit:
        yield _other_type(contract, wanted, present)
    if misfit:
        return
    yield from _nulls(contract, wanted, present)
    if wanted.name not in mapped.times:
        yield from _default(contract, wanted, present)
    yield from _length(contract, wanted, present)


def _is_mapped_queue(contract: Contract, wanted: WantedColumn) -> bool:
    """Tell whether this is a column queue of theirs, whose words are mapped: any type will do."""
    return (contract.table, wanted.name) == ("jobs", "queue") and mapping.current().jobs.queues is not None


def _absent(contract: Contract, wanted: WantedColumn) -> Finding:
    return Finding(
        id="column-absent",
        severity=Severity.INFO,
        subject=f"{contract.table}.{wanted.name}",
        found=f"the mapping says that there is none: {LOST[wanted.name]}",
        action="Nothing, if that is acceptable.",
    )


def _missing(contract: Contract, wanted: WantedColumn, table: Table) -> Finding:
    actual = contract.actual(wanted)
    subject = f"{contract.table}.{wanted.name}"
    add = f"ALTER TABLE {contract.sql} ADD COLUMN {catalog.quoted(actual)} {column_sql.declaration(contract, wanted)};"
    candidates = [
        name
        for name in wanted.otherwise
        if name in table.columns and table.columns[name].type in wanted.types
    ]
    if candidates:
        add = f"OPSCONSOLE_COLUMNS='{json.dumps({subject: candidates[0]})}' if that column means the same. Otherwise: {add}"
    mapped = f" (the mapping names '{actual}' for it)" if actual != wanted.name else ""
    return Finding(
        id="column-missing",
        severity=Severity.BLOCKER,
        subject=subject,
        found=f"there is no such column{mapped}; the table has {', '.join(table.columns)}",
        wanted=contract.accepted(wanted)[0],
        action=add,
    )


def _other_type(contract: Contract, wanted: WantedColumn, present: Column) -> Finding:
    return Finding(
        id="column-type",
        severity=Severity.BLOCKER,
        subject=f"{contract.table}.{present.name}",
        found=f"its type is {present.declared}",
        wanted=" or ".join(contract.accepted(wanted)),
        action=column_sql.conversion(contract, wanted, present),
    )


def _nulls(contract: Contract, wanted: WantedColumn, present: Column) -> Iterator[Finding]:
    subject, alter = (
        f"{contract.table}.{present.name}",
        f"ALTER TABLE {contract.sql} ALTER COLUMN {catalog.quoted(present.name)}",
    )
    # In a mapped table, no error may be an empty text.
    empties = wanted.name == "error_message" and mapping.current().jobs.differs
    if wanted.null is True and not present.nullable and not empties:
        yield Finding(
            id="column-not-null",
            severity=Severity.BLOCKER,
            subject=subject,
            found="it refuses NULL",
            wanted="NULL accepted, which the console writes while there is no value",
            action=f"{alter} DROP NOT NULL;",
        )
    if wanted.null is False and present.nullable:
        yield Finding(
            id="column-nullable",
            severity=_severity_of_nulls(wanted),
            subject=subject,
            found=f"it accepts NULL{_nulls_seen(contract, present)}",
            wanted="no NULL: a row with NULL may never be found stale or may be counted wrongly",
            action=column_sql.filled(contract, wanted, present),
        )


def _severity_of_nulls(wanted: WantedColumn) -> Severity:
    return Severity.BLOCKER if wanted.ours and wanted.types[0] == "integer" else Severity.WARNING


def _nulls_seen(contract: Contract, present: Column) -> str:
    seen = catalog.look(
        f"SELECT 1 FROM {contract.sql} WHERE {own_schema.quoted(present.name)} IS NULL LIMIT 1"
    )
    if seen is None:
        return " (no query of up to two seconds showed whether there are any)"
    return ", and there are rows with NULL" if seen else ", although no row has it now"


def _default(contract: Contract, wanted: WantedColumn, present: Column) -> Iterator[Finding]:
    if present.default is not None:
        return
    default = contract.default(wanted)
    if contract.is_numbered(wanted):
        default, add = "a number that the database gives", column_sql.numbered(contract, present)
    elif default and (wanted.name != "priority_level" or present.type in TEXT):
        add = column_sql.defaulted(contract, wanted, present)
    else:
        return
    yield Finding(
        id="column-default",
        severity=Severity.WARNING,
        subject=f"{contract.table}.{present.name}",
        found="it has no default",
        wanted=f"DEFAULT {default}, on which the console relies when it inserts rows",
        action=add,
    )


def _length(contract: Contract, wanted: WantedColumn, present: Column) -> Iterator[Finding]:
    if wanted.name in {"error_message", "worker_id"} and "(" in present.declared:
        longest = int(present.declared.partition("(")[2].rstrip(")"))
        own = wanted.name == "error_message" and longest < max(
            map(len, (RECOVERED_MESSAGE, QUARANTINED_MESSAGE))
        )
        yield Finding(
            id="column-short",
            # Without room for the console's own message, no run is ever recovered.
            severity=Severity.BLOCKER if own else Severity.WARNING,
            subject=f"{contract.table}.{present.name}",
            found=f"its type is {present.declared}: a longer text is refused, and with it the change that wrote it",
            wanted="text",
            action=f"ALTER TABLE {contract.sql} ALTER COLUMN {catalog.quoted(present.name)} TYPE text; (no row is rewritten).",
        )


def _not_ours(contract: Contract, table: Table) -> Iterator[Finding]:
    """Find required columns that the console does not know and can't fill when it inserts rows."""
    known = {column(f"{contract.table}.{wanted.name}") for wanted in contract.columns}
    for other in table.columns.values():
        if other.name not in known and not other.nullable and other.default is None:
            yield Finding(
                id="column-required",
                severity=Severity.WARNING,
                subject=f"{contract.table}.{other.name}",
                found="it refuses NULL and has no default, and the console does not know it",
                wanted="a default, or NULL accepted; until then only your programs can insert rows",
                action=f"ALTER TABLE {contract.sql} ALTER COLUMN {catalog.quoted(other.name)} DROP NOT NULL; or give it a default.",
            )
