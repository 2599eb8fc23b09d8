"""The addresses of jobs' pages. Ids of text may hold what an address can't."""

from __future__ import annotations

from collections.abc import Iterable

from opsconsole.kit import addresses
from opsconsole.kit.short_ids import short_id

JOBS = "jobs_job"


def job_page(job_id: object) -> str:
    """Return the address of the page of a job; an empty id leads to the list, since no address names it."""
    text = str(job_id)
    if not text:
        return addresses.of_list(JOBS)
    return addresses.of_row(JOBS, text)


def job_links(job_ids: Iterable[object]) -> list[tuple[str, str]]:
    """Return a link to each of these jobs, as alerts have them: a label, and the address."""
    return [(f"Job {short_id(job_id)}", job_page(job_id)) for job_id in job_ids]
