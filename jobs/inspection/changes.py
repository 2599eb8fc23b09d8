"""What makes the contract tables unusable, as far as the catalogue tells: after ``migrate``, somebody changed them.

``migrate`` refuses a database with one of these findings, so that they came later. Nothing here reads rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobs.inspection import catalog, obstacles, shape, statuses
from jobs.inspection.contract import CONTRACTS, JOBS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobs.inspection.finding import Finding


def sentences() -> list[str]:
    """Return a sentence for each change, with what to do."""
    return [finding.sentence for finding in find()]


def find() -> Iterator[Finding]:
    """Find tables and columns that are gone, or are no longer what the console reads and writes."""
    for contract in CONTRACTS:
        table = catalog.table(contract.sql)
        unfit = list(shape.unfit(contract, table, attached=True))
        yield from unfit
        if table is not None:
            yield from obstacles.generated(contract, table)
        if table is not None and contract is JOBS and not unfit:
            yield from statuses.unfit_type(table)
