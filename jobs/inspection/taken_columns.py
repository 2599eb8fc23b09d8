"""Columns of others that have the name of one which the console adds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobs.inspection import catalog
from jobs.inspection.finding import Finding, Severity

if TYPE_CHECKING:
    from jobs.inspection.catalog import Column
    from jobs.inspection.contract import Contract

MEANING = {
    "attempts": "the number of runs of the job with a reported failure",
    "payload": "what the worker needs for the job",
    "worker_id": "the worker that runs the job; NULL when none does",
    "queue": "the name of the job's queue",
    "deadline_at": "the time after which a run counts as hung",
    "started_at": "the time at which the worker started",
    "hostname": "the name of the worker's host",
    "pid": "the number of the worker's process",
    "metadata": "what the worker reports about itself",
}


def finding(contract: Contract, present: Column, *, misfit: bool) -> Finding:
    """Return what is to be done about a column of theirs. ``misfit``: its type is none that the console can use."""
    meaning = MEANING.get(present.name, "see docs/attaching.md")
    return Finding(
        id="column-taken",
        severity=Severity.BLOCKER if misfit else Severity.WARNING,
        subject=f"{contract.table}.{present.name}",
        found=f"your table already has a column of this name ({present.declared})"
        + (", which the console can't use" if misfit else ""),
        wanted=f"a column that the console reads and writes: {meaning}",
        action=("" if misfit else "Nothing, if yours means the same. ")
        + (
            "If it has other words, map them under [jobs.queues] in the file that OPSCONSOLE_MAPPING names. "
            if present.name == "queue"
            else ""
        )
        + ("Rename" if misfit else "Otherwise rename")
        + " yours before migrate: "
        f"ALTER TABLE {contract.sql} RENAME COLUMN {catalog.quoted(present.name)} TO {catalog.quoted(f'your_{present.name}')};",
    )
