"""The address of a job's page. Ids of text may hold what an address can't."""

from __future__ import annotations

from django.contrib.admin.utils import quote
from django.urls import reverse


def job_page(job_id: object) -> str:
    """Return the address of the page of a job; an empty id leads to the list, since no address names it."""
    text = str(job_id)
    return (
        reverse("admin:jobs_job_change", args=[quote(text)]) if text else reverse("admin:jobs_job_changelist")
    )
