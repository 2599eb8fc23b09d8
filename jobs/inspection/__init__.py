"""The inspection of a database before and after attaching: what fits, what does not, and what to do. Read-only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import connection, transaction

from jobs.inspection import (
    access,
    catalog,
    grants,
    job_id,
    life,
    local_times,
    names,
    obstacles,
    partitions,
    queue_elsewhere,
    search_path,
    server,
    shape,
    statuses,
    usage,
    workers,
    written_values,
)
from jobs.inspection.contract import CONTRACTS, HEARTBEATS, JOBS, Contract
from jobs.inspection.finding import Finding, Severity, blockers
from jobs.models.columns import column
from jobs.restores import signs
from opsconsole.kit import changed_tables, mapping

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobs.inspection.catalog import Table

__all__ = ["Finding", "Severity", "blockers", "inspect_database"]

# The migration that adds the last of our columns to each table: before it, a missing one is no fault.
COMPLETED_BY = {
    "jobs": ("jobs", "0016_claimed_by_key"),
    "worker_heartbeats": ("jobs", "0001_contract_tables"),
    "rate_limit_requests": ("ratelimits", "0001_contract_table"),
}
RESTORES_BY = ("jobs", "0010_restores")
PARTITIONED_BY = ("jobs", "0006_functions_and_triggers")


def inspect_database() -> list[Finding]:
    """Return all findings on the default database, most severe first, without writing or blocking anybody."""
    order = list(reversed(Severity))
    return sorted(_findings(), key=lambda finding: order.index(finding.severity))


def _findings() -> Iterator[Finding]:
    if finding := server.refused_transactions():
        yield finding
        return
    yield from server.inspect()
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION READ ONLY")
        closed = list(usage.inspect())
        yield from closed
        if blockers(closed):
            return
        if finding := names.other_console():
            yield finding
            return
        yield from server.inspect_transactions()
        history = names.loader()
        if history.disk_migrations.keys() - history.applied_migrations.keys():
            missing = [each.table for each in CONTRACTS if catalog.table(each.sql) is None]
            yield from access.inspect_schema(names.place(), missing=missing)
        yield from search_path.inspect()
        yield from names.inspect(history)
        yield from life.inspect_mapping()
        yield from grants.inspect_defaults()
        yield from grants.inspect_own()
        if PARTITIONED_BY in history.applied_migrations:
            yield from partitions.inspect()
        is_attached = RESTORES_BY in history.applied_migrations
        # What reads rows of all tables is left out where one has changed, which is told by the findings about that table.
        has_changed = is_attached and changed_tables.have_changed()
        if is_attached and not has_changed:
            yield from _restores()
        for contract in CONTRACTS:
            attached = COMPLETED_BY[contract.table] in history.applied_migrations
            table = catalog.table(contract.sql)
            yield from _table(contract, table, attached=attached)
            if contract is HEARTBEATS and table and not has_changed:
                yield from workers.inspect(table, attached=attached)


def _restores() -> Iterator[Finding]:
    for sign in signs.kept():
        yield Finding(
            id="restored",
            severity=Severity.WARNING,
            subject="PostgreSQL",
            found=f"it seems to have been restored or failed over: {sign.removesuffix('.')}",
            action=f"Run: {signs.COMMAND}",
        )


def _table(contract: Contract, table: Table | None, *, attached: bool) -> Iterator[Finding]:
    yield from shape.inspect(contract, table, attached=attached)
    if table is None:
        if contract is JOBS and not attached and not mapping.current().jobs.differs:
            yield from queue_elsewhere.inspect()
        return
    yield from access.inspect(contract, table, attached=attached)
    yield from obstacles.inspect(contract, table, attached=attached)
    yield from grants.inspect(contract, table)
    for of in (mapping.current().jobs, mapping.current().worker_heartbeats):
        if of.contract == contract.table:
            yield from written_values.inspect(of, table)
            yield from local_times.inspect(of, table)
    if contract is JOBS and table.kind in "rp":
        yield from job_id.inspect(table)
    if contract is JOBS and column("jobs.status") in table.columns:
        yield from statuses.inspect(table)
        yield from life.inspect(table, attached=attached)
