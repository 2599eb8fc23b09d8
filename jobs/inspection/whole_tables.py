"""Contract tables that are missing, or are no tables in which the console can work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobs.inspection import catalog, search_path
from jobs.inspection.finding import Finding, Severity
from opsconsole.kit import mapping

if TYPE_CHECKING:
    from jobs.inspection.catalog import Table
    from jobs.inspection.contract import Contract

ORDINARY_TABLE, PARTITIONED_TABLE = "r", "p"
KINDS = {"v": "a view", "m": "a materialized view", "p": "a partitioned table", "f": "a foreign table"}


def is_usable(contract: Contract, table: Table) -> bool:
    """Tell whether this is an ordinary table, or a partitioned one in which an id names one row."""
    return table.kind == ORDINARY_TABLE or _has_partitions_that_fit(contract, table)


def of_another_kind(contract: Contract, table: Table) -> Finding:
    """Return the finding about a view, a foreign table, or a partitioned table that won't do."""
    mend = (
        "Name the table itself in the file that OPSCONSOLE_MAPPING names."
        if _is_theirs(contract)
        else "Put the schema of the table itself first in the search path."
    )
    return Finding(
        id="table-kind",
        severity=Severity.BLOCKER,
        subject=contract.table,
        found=f"{table.schema}.{table.name} is {KINDS.get(table.kind, 'not a table')}",
        wanted="an ordinary table, to which columns can be added and on which indexes can be built concurrently; jobs may "
        "also be a partitioned table with a unique index on the id alone",
        action=mend,
    )


def absent(contract: Contract, *, attached: bool) -> Finding:
    """Return the finding about a table that is not there."""
    if _is_theirs(contract):
        state = f"there is no table {contract.sql}, as the mapping names it"
        action = "Correct the schema and the name in the file that OPSCONSOLE_MAPPING names."
    elif attached:
        state = "there is no such table on the search path, although migrate was run"
        action = "Let sessions look where it is, or put it back from a backup." + _elsewhere(contract.table)
    else:
        state = "there is no such table on the search path"
        action = "migrate creates it." + _elsewhere(contract.table)
    severity = Severity.BLOCKER if attached or _is_theirs(contract) else Severity.INFO
    return Finding(id="table-missing", severity=severity, subject=contract.table, found=state, action=action)


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
