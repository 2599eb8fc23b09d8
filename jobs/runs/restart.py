"""The changes to a job's row when it is restarted: one list for querysets and for handwritten statements."""

from __future__ import annotations

from typing import Any

from django.db.models import F
from django.db.models.functions import Now

from jobs.models import Status
from jobs.models.job import JobQuerySet

# The columns that belong to the previous run.
CLEARED = ("claimed_epoch", "worker_id", "started_at", "completed_at", "not_before")


def restart(jobs: JobQuerySet, **changes: Any) -> int:
    """Make these jobs wait for a new run. The epoch rises, so that anything the old run still reports is refused."""
    cleared = dict.fromkeys(CLEARED)
    anew = {"status": Status.PENDING, "run_epoch": F("run_epoch") + 1, "updated_at": Now()}
    return jobs.update(**cleared | anew | changes)


def restart_in_statement(job: str) -> str:
    """Return the same changes as SQL for the SET clause of a statement in which ``job`` names the row."""
    cleared = [f"{column} = NULL" for column in CLEARED]
    anew = [
        f"status = '{Status.PENDING}'",
        f"run_epoch = {job}.run_epoch + 1",
        "updated_at = statement_timestamp()",
    ]
    return ", ".join([*anew, *cleared])
