"""The address of a job's page. Ids of text may hold what an address can't."""

from __future__ import annotations

import re

from django.contrib.admin.utils import quote
from django.urls import reverse

from opsconsole.kit import addresses

LIST = "admin:jobs_job_changelist"
PLAIN = re.compile(r"[0-9A-Za-z-]+")


def job_page(job_id: object) -> str:
    """Return the address of the page of a job; an empty id leads to the list, since no address names it."""
    text = str(job_id)
    if not text:
        return addresses.fixed(LIST)
    # Of ids that need no quoting, as most are, a list has one per row.
    return (
        f"{addresses.fixed(LIST)}{text}/change/"
        if PLAIN.fullmatch(text)
        else reverse("admin:jobs_job_change", args=[quote(text)])
    )
