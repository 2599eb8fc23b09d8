"""The statement of a claim, and whether the database kept the row of a run that could be claimed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from opsconsole_worker.database import door
from opsconsole_worker.database.door import Rows
from opsconsole_worker.mapping.contract_words import FAILED, PENDING, QUARANTINED
from opsconsole_worker.runs import statements
from opsconsole_worker.runs.tables import JOBS


def run(asked: Mapping[str, Any]) -> tuple[Rows, Rows]:
    """Claim a run; return the epoch if it was won, and the row that the claim met.

    Raise the database's ``RowKept`` if nobody else has the run, and the row was not changed nevertheless.
    """
    won, rows = door.run(statements.CLAIM, asked)
    if won or not _is_free(rows, asked):
        return won, rows
    # The run may have become free after the claim had looked. An epoch never comes back, so the second claim is certain.
    won, again = door.run(statements.CLAIM, asked)
    if not won and _is_free(again, asked) and _epoch(again) == _epoch(rows):
        raise door.current().row_kept(JOBS.name)
    return won, again


def _is_free(rows: Rows, asked: Mapping[str, Any]) -> bool:
    """Tell whether the claim should have won this row. Pure."""
    if not rows:
        return False
    status, epoch, _, wait, id_is_taken = rows[0]
    if id_is_taken or asked["epoch"] not in {None, epoch}:
        return False
    if status == PENDING:
        return wait is None or wait <= timedelta(0)
    return bool(asked["redriven"]) and status in {FAILED, QUARANTINED}


def _epoch(rows: Rows) -> Any:
    return rows[0][1]
