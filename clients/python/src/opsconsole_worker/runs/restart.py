"""The changes to a job's row when it is restarted, as SQL for handwritten statements. ``jobs.runs.restart`` has the querysets."""

from __future__ import annotations

from opsconsole_worker.mapping.contract_words import PENDING
from opsconsole_worker.runs.tables import JOBS

# The columns that belong to the previous run.
CLEARED = ("claimed_epoch", "worker_id", "started_at", "completed_at", "not_before")

# A deadline of the job's own gives the new run as much time as the last one had, from now on. Without a start of the last
# run, a deadline that has passed is dropped, and the configured time counts. PostgreSQL can't
# calculate with infinite times before version 17, and next to its first and last time in none.
_NEW_DEADLINE = (
    "CASE WHEN {job}.deadline_at > {started} AND {job}.deadline_at < '9000-01-01' AND {started} > '1000-01-01'"
    " THEN statement_timestamp() + ({job}.deadline_at - {started})"
    " WHEN {job}.deadline_at > statement_timestamp() THEN {job}.deadline_at END"
)


def cleared_of_theirs() -> str:
    """Return the assignments that clear what a run left in columns that are none of the contract; '' where there are none."""
    return ", ".join(f"{column} = {value}" for column, value in JOBS.cleared_of_theirs.items())


def restart_in_statement(job: str, **changes: str) -> str:
    """Return the same changes as SQL for the SET clause of a statement in which ``job`` names the row."""
    cleared = dict.fromkeys(CLEARED, "NULL")
    anew = {
        "status": JOBS.status_written(PENDING),
        "run_epoch": f"{job}.run_epoch + 1",
        "updated_at": "statement_timestamp()",
        "deadline_at": new_deadline_in_statement(job),
    }
    return ", ".join(filter(None, [JOBS.assignments(**cleared | anew | changes), cleared_of_theirs()]))


def new_deadline_in_statement(job: str) -> str:
    """Return the deadline of the new run as SQL."""
    return _NEW_DEADLINE.format(job=job, started=JOBS.read("started_at", job))
