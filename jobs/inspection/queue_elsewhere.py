"""A database without the table ``jobs`` in which other programs work: migrate must not create an empty one beside theirs."""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings
from django.db import connection

from jobs.inspection import search_path
from jobs.inspection.finding import Finding, Severity
from jobs.inspection.proposal import queue_table, reading
from opsconsole.kit import other_tables

SETTING = "OPSCONSOLE_CREATE_JOBS"
_PROPOSE = "python manage.py inspect_database --propose prints a mapping, or says why there is none."
_CHOICE = f"To have migrate create a new table: {SETTING}=1"


def inspect() -> Iterator[Finding]:
    """Find the table that is likely meant, or others' tables, unless the operator said that a new one is wanted."""
    if settings.OPSCONSOLE_CREATE_JOBS:
        return
    candidates = queue_table.candidates(reading.snapshot())
    if candidates:
        theirs = candidates[0].table
        # Only a table of this name is found by the path alone.
        found_by_path = theirs.name == "jobs"
        yield _refused(
            "jobs-elsewhere",
            f"there is no such table on the search path, but {theirs.sql} looks like a queue of jobs",
            f"Or let sessions look there: {search_path.leading_to(theirs.schema)}" if found_by_path else "",
        )
    elif others := other_tables.of_other_programs(connection):
        yield _refused(
            "jobs-not-found",
            f"there is no such table on the search path, and other programs have tables here, such as {', '.join(others)}",
        )


def _refused(kind: str, found: str, search: str = "") -> Finding:
    return Finding(
        id=kind,
        severity=Severity.BLOCKER,
        subject="jobs",
        found=found,
        wanted="the table into which your programs write, or the choice of a new one",
        action=" ".join(part for part in (_PROPOSE, search, _CHOICE) if part),
    )
