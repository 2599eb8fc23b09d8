"""What starting a job again changes in its row: one list, for querysets and for a statement of our own."""

from __future__ import annotations

from typing import Any

from django.db.models import F
from django.db.models.functions import Now

from jobs.models import Status
from jobs.models.job import JobQuerySet

# What belonged to the run before.
CLEARED = ("claimed_epoch", "worker_id", "started_at", "completed_at", "not_before")


def restart(jobs: JobQuerySet, **changes: Any) -> int:
    """Make these jobs wait for a new run: the epoch rises, so whatever the old run still says is refused."""
    cleared = dict.fromkeys(CLEARED)
    anew = {"status": Status.PENDING, "run_epoch": F("run_epoch") + 1, "updated_at": Now()}
    return jobs.update(**cleared | anew | changes)


def restart_in_statement(job: str) -> str:
    """Spell the same changes for the SET of a statement that calls the job's row so."""
    cleared = [f"{column} = NULL" for column in CLEARED]
    anew = [
        f"status = '{Status.PENDING}'",
        f"run_epoch = {job}.run_epoch + 1",
        "updated_at = statement_timestamp()",
    ]
    return ", ".join([*anew, *cleared])
