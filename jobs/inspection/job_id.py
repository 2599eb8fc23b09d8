"""The id of a job: one value that names one row, in every message, heartbeat and event."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobs.inspection import catalog
from jobs.inspection.finding import Finding, Severity
from jobs.models.columns import JOBS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobs.inspection.catalog import Column, Table

_UNIQUE = """
SELECT FROM pg_index WHERE indrelid = %s AND indisunique AND indisvalid AND indpred IS NULL AND indnkeyatts = 1
   AND indkey[0] = (SELECT attnum FROM pg_attribute WHERE attrelid = indrelid AND attname = %s)
"""


def inspect(table: Table) -> Iterator[Finding]:
    """Check that an id names one row of the table, and is read as messages write it."""
    present = table.columns.get(JOBS.column("id"))
    if present is None:
        return
    if not catalog.rows(_UNIQUE, [table.oid, present.name]):
        yield _not_unique(table, present)
    if present.type == "character" and _has_padded(present):
        yield _padded(present)


def _not_unique(table: Table, present: Column) -> Finding:
    return Finding(
        id="id-not-unique",
        severity=Severity.BLOCKER,
        subject=f"jobs.{present.name}",
        found="no unique index says that it names one row: a change meant for one job could reach others",
        wanted="a unique index on this column alone, for all rows",
        action=f"CREATE UNIQUE INDEX CONCURRENTLY {catalog.quoted(f'{table.name[:40]}_one_row')}"
        f" ON {JOBS.sql} ({JOBS.sql_column('id')}); "
        "If there are duplicates, map another column.",
    )


def _has_padded(present: Column) -> bool:
    column = catalog.quoted(present.name)
    return bool(
        catalog.look(
            f"SELECT FROM {JOBS.sql} WHERE octet_length({column}) > octet_length({column}::text) LIMIT 1"
        )
    )


def _padded(present: Column) -> Finding:
    return Finding(
        id="id-padded",
        severity=Severity.BLOCKER,
        subject=f"jobs.{present.name}",
        found=f"its type {present.declared} pads ids that are shorter with blanks, and messages name them without",
        wanted="ids that are read as they were written",
        action="Give the column the type text or character varying, which rewrites the table while it is locked.",
    )
