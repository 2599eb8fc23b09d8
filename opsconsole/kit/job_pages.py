"""The address of a job's page. Ids of text may hold what an address can't."""

from __future__ import annotations

from opsconsole.kit import addresses

JOBS = "jobs_job"


def job_page(job_id: object) -> str:
    """Return the address of the page of a job; an empty id leads to the list, since no address names it."""
    text = str(job_id)
    if not text:
        return addresses.of_list(JOBS)
    return addresses.of_row(JOBS, text)
