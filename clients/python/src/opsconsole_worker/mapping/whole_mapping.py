"""The mapping as a whole: all contract tables of one database."""
# ruff: noqa: S608 - only names from this code and from the operator's file are put together

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Mapping as Dictionary
from dataclasses import dataclass, field
from types import MappingProxyType

from opsconsole_worker.mapping.contract_words import ADDED_WHEN_ABSENT
from opsconsole_worker.mapping.mapped_jobs import Jobs
from opsconsole_worker.mapping.mapped_tables import Table


@dataclass(frozen=True)
class Mapping:
    """All contract tables of this database. Equal to ``Mapping()`` where nothing differs."""

    jobs: Jobs = field(default_factory=lambda: Jobs("jobs"))
    worker_heartbeats: Table = field(default_factory=lambda: Table("worker_heartbeats"))
    rate_limit_requests: Table = field(default_factory=lambda: Table("rate_limit_requests"))

    def table(self, contract: str) -> Table:
        """Return a table by its name in the contract."""
        tables = {table.contract: table for table in self.tables}
        return tables[contract]

    def sql(self, table: str) -> str:
        """Return a table for a statement: by its name in the contract, or any other table by its name."""
        return next((each.sql for each in self.tables if each.contract == table), table)

    def named(self, statement: str) -> str:
        """Return a statement of a migration that only asks whether a contract table has rows, for this database."""
        for table in self.tables:
            if table.is_renamed:
                statement = re.sub(
                    rf"\(SELECT 1 FROM {table.contract}\)", f"(SELECT 1 FROM {table.sql})", statement
                )
        return statement

    @property
    def tables(self) -> tuple[Table, ...]:
        return self.jobs, self.worker_heartbeats, self.rate_limit_requests

    def unsupported(self) -> list[str]:
        """Return what this version can't do yet, one sentence each: such a mapping is refused at start."""
        return [*_unsupported(self)]


def _unsupported(mapping: Mapping) -> Iterable[str]:
    jobs = mapping.jobs
    for table in mapping.tables:
        for column in sorted(table.absent_columns - _DISPENSABLE.get(table.contract, frozenset())):
            yield f"[{table.contract}.columns] {column} = false: a table without it is not supported yet"
    if {"updated_at", "started_at"} <= jobs.absent_columns:
        yield "[jobs.columns] updated_at and started_at can't both be false: nothing would tell when a run began"


# What is lost without them is said by the inspection (jobs.models.absent_columns).
_DISPENSABLE: Dictionary[str, frozenset[str]] = MappingProxyType(
    {
        **ADDED_WHEN_ABSENT,
        "jobs": frozenset(
            {
                "customer_id",
                "package_size",
                "priority_level",
                "error_message",
                "updated_at",
                "started_at",
                "completed_at",
            }
        ),
    }
)
