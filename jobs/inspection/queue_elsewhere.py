"""A queue of somebody else in a database without the table ``jobs``: migrate must not create an empty one beside it."""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings

from jobs.inspection.finding import Finding, Severity
from jobs.inspection.proposal import queue_table, reading

SETTING = "OPSCONSOLE_CREATE_JOBS"


def inspect() -> Iterator[Finding]:
    """Find the table that is likely meant, unless the operator said that a new one is wanted."""
    if settings.OPSCONSOLE_CREATE_JOBS:
        return
    for candidate in queue_table.candidates(reading.snapshot())[:1]:
        yield Finding(
            id="jobs-elsewhere",
            severity=Severity.BLOCKER,
            subject="jobs",
            found=f"there is no such table on the search path, but {candidate.table.sql} looks like a queue of jobs",
            wanted="the table into which your programs write",
            action="python manage.py inspect_database --propose prints the mapping for it. If it only is in a schema that is not "
            f"searched: ALTER ROLE ... IN DATABASE ... SET search_path = YOUR_SCHEMA; To have migrate create a new table: {SETTING}=1",
        )
