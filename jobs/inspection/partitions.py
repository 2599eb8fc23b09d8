"""The monthly partitions of the timeline: may the console create them, and are there events outside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobs.inspection import catalog
from jobs.inspection.access import role
from jobs.inspection.finding import Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

FUNCTION = "create_job_event_partitions(integer)"


def inspect() -> Iterator[Finding]:
    if not catalog.value("SELECT has_function_privilege(to_regprocedure(%s), 'EXECUTE')", [FUNCTION]):
        yield Finding(
            id="event-partitions",
            severity=Severity.WARNING,
            subject="job_events",
            found=f"the role {role()} may not create the partitions of the next months. Without them events go to "
            "job_events_default: none is lost, but whole months can't be dropped",
            action=f"GRANT EXECUTE ON FUNCTION {_place()}.{FUNCTION} TO {role()};",
        )
    if catalog.look("SELECT 1 FROM job_events_default LIMIT 1"):
        yield Finding(
            id="events-in-default-partition",
            severity=Severity.INFO,
            subject="job_events",
            found="job_events_default has events of a month without a partition",
            action="Nothing: they are read like all others, and the following months have their own partitions.",
        )


def _place() -> str:
    """Return the schema of the function, which sessions of others may not search."""
    return str(
        catalog.value(
            "SELECT pronamespace::regnamespace::text FROM pg_proc WHERE oid = to_regprocedure(%s)", [FUNCTION]
        )
    )
