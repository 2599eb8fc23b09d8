"""The shape of tables and columns: whether they exist, have an accepted type and accept what the console writes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from django.db import connection

from jobs.inspection import catalog, column_sql, taken_columns, whole_tables
from jobs.inspection.contract import TEXT, Contract, WantedColumn
from jobs.inspection.finding import Finding, Severity, blockers
from jobs.models.absent_columns import LOST
from jobs.models.columns import column
from jobs.recovery.rescue import QUARANTINED_MESSAGE, RECOVERED_MESSAGE
from opsconsole.kit import attachment, mapping, own_schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobs.inspection.catalog import Column, Table


def inspect(contract: Contract, table: Table | None, *, attached: bool) -> Iterator[Finding]:
    """Check the table and its columns. ``attached``: migrate has already completed the table."""
    if table is None or not whole_tables.is_usable(contract, table):
        yield from unfit(contract, table, attached=attached)
        return
    yield Finding(
        id="table-found",
        severity=Severity.OK,
        subject=contract.table,
        found=f"found as {table.schema}.{table.name}, owner {table.owner}, about {table.estimate:,} rows",
    )
    for wanted in contract.columns:
        yield from _column(contract, wanted, table, attached)
    yield from _not_ours(contract, table)


def unfit(contract: Contract, table: Table | None, *, attached: bool) -> Iterator[Finding]:
    """Find what the console can't work with, by the catalogue alone: no row is read."""
    if table is None:
        yield whole_tables.absent(contract, attached=attached)
    elif not whole_tables.is_usable(contract, table):
        yield whole_tables.of_another_kind(contract, table)
    else:
        for wanted in contract.columns:
            yield from _unfit_column(contract, wanted, table, attached)


def _column(contract: Contract, wanted: WantedColumn, table: Table, attached: bool) -> Iterator[Finding]:
    mapped = mapping.current().table(contract.table)
    if wanted.name in mapped.absent_columns:
        yield _absent(contract, wanted)
    misfits = list(_unfit_column(contract, wanted, table, attached))
    yield from misfits
    present = table.columns.get(contract.actual(wanted))
    if present is None or mapped.lacks(wanted.name) or not _has_type_that_fits(contract, wanted, present):
        return
    if _is_mapped_queue(contract, wanted):
        return
    if _is_taken(contract, wanted, present, attached):
        yield taken_columns.finding(contract, present, misfit=False)
    yield from _nullable(contract, wanted, present)
    if wanted.name not in mapped.times:
        yield from _default(contract, wanted, present)
    yield from (finding for finding in _length(contract, wanted, present) if finding not in misfits)


def _unfit_column(
    contract: Contract, wanted: WantedColumn, table: Table, attached: bool
) -> Iterator[Finding]:
    """Find what the console can't work with; no row is read."""
    present = table.columns.get(contract.actual(wanted))
    mapped = mapping.current().table(contract.table)
    if mapped.lacks(wanted.name):
        return
    if present is None:
        if attached or not (wanted.ours or wanted.name in mapped.absent_columns):
            yield _missing(contract, wanted, table)
    elif not _has_type_that_fits(contract, wanted, present):
        if _is_taken(contract, wanted, present, attached):
            yield taken_columns.finding(contract, present, misfit=True)
        else:
            yield _other_type(contract, wanted, present)
    elif not _is_mapped_queue(contract, wanted):
        yield from blockers([*_not_null(contract, wanted, present), *_length(contract, wanted, present)])


def _has_type_that_fits(contract: Contract, wanted: WantedColumn, present: Column) -> bool:
    return _is_mapped_queue(contract, wanted) or present.type in contract.accepted(wanted)


def _is_taken(contract: Contract, wanted: WantedColumn, present: Column, attached: bool) -> bool:
    """Tell whether this column of theirs has the name of one that the console would add."""
    return (
        wanted.ours
        and not attached
        and present.name not in attachment.added_columns(connection, contract.sql)
    )


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


def _not_null(contract: Contract, wanted: WantedColumn, present: Column) -> Iterator[Finding]:
    # In a mapped table, no error may be an empty text.
    empties = wanted.name == "error_message" and mapping.current().jobs.differs
    if wanted.null is True and not present.nullable and not empties:
        yield Finding(
            id="column-not-null",
            severity=Severity.BLOCKER,
            subject=f"{contract.table}.{present.name}",
            found="it refuses NULL",
            wanted="NULL accepted, which the console writes while there is no value",
            action=f"ALTER TABLE {contract.sql} ALTER COLUMN {catalog.quoted(present.name)} DROP NOT NULL;",
        )


def _nullable(contract: Contract, wanted: WantedColumn, present: Column) -> Iterator[Finding]:
    if wanted.null is False and present.nullable:
        yield Finding(
            id="column-nullable",
            severity=_severity_of_nulls(wanted),
            subject=f"{contract.table}.{present.name}",
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
