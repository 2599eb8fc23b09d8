"""The few jobs that an alert names out of many: whose they are, and in which queue."""

from __future__ import annotations

from uuid import UUID

from jobs.models.job import UNKNOWN_CUSTOMER, JobQuerySet

NAMED = 3


def named(jobs: JobQuerySet) -> dict[UUID, str]:
    """Return the first of these jobs, in their order, with a line about each."""
    rows = jobs.values_list("pk", "customer_id", "queue")[:NAMED]
    return {
        pk: f"{customer or UNKNOWN_CUSTOMER}: job {pk}" + (f", queue {queue}" if queue else "")
        for pk, customer, queue in rows
    }
