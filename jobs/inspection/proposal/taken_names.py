"""Columns of theirs under the name of one that ``migrate`` adds, of a kind that the console can't use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobs.inspection.contract import HEARTBEATS, JOBS, RATE_LIMIT_REQUESTS
from opsconsole.kit.mapping import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobs.inspection.contract import Contract
    from jobs.inspection.proposal.proposed import Proposal
    from jobs.inspection.proposal.snapshot import ColumnFacts, TableFacts


def sentences(proposal: Proposal) -> Iterator[str]:
    """Yield what must be renamed before ``migrate``, with the SQL; ``inspect_database`` calls these blockers, too."""
    for contract, part in (
        (JOBS, proposal.jobs),
        (HEARTBEATS, proposal.heartbeats),
        (RATE_LIMIT_REQUESTS, proposal.limits),
    ):
        if part.facts is not None:
            for column in _unfit(contract, part.facts, mapped_queue=proposal.queue_words is not None):
                yield _sentence(part.facts, column)


def _unfit(contract: Contract, table: TableFacts, *, mapped_queue: bool) -> Iterator[ColumnFacts]:
    for wanted in contract.columns:
        column = table.columns.get(wanted.name) if wanted.ours else None
        if column is None or (contract is JOBS and wanted.name == "queue" and mapped_queue):
            continue
        if column.generated or column.type not in wanted.types:
            yield column


def _sentence(table: TableFacts, column: ColumnFacts) -> str:
    kind = f"{column.type}, generated from other columns" if column.generated else column.type
    return (
        f'{table.sql} has a column "{column.name}" ({kind}), where the console adds one of this name: rename yours before '
        f"migrate: ALTER TABLE {table.sql} RENAME COLUMN {quoted(column.name)} TO {quoted(f'your_{column.name}')};"
    )
