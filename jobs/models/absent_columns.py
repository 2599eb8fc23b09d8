"""What is lost without columns of the contract that this database does not have: one answer for pages and the inspection."""

from __future__ import annotations

from opsconsole.kit import mapping

LOST = {
    "customer_id": "jobs are shown without their customer, can't be searched by one, and messages name none",
    "package_size": "jobs and messages have no size",
    "priority_level": "jobs and messages have no priority",
    "error_message": "why a job failed, or was recovered, stands on its timeline only",
    "updated_at": "a change of the row is no sign of life; a run counts from its start, a waiting job from its creation",
    "started_at": "a run counts from the last change of its row, so that one that changes often is found stale later",
    "completed_at": "when a job ended stands on its timeline only",
    "current_job_id": "heartbeats of your workers name no job; migrate adds the column for workers that use the console's protocol",
}
# Those that change when a run is taken.
OF_RUNS = ("updated_at", "started_at", "current_job_id")


def sentences(*names: str) -> list[str]:
    """Return a sentence per absent column, of these or of all."""
    found = mapping.current()
    absent = [*found.jobs.absent_columns, *found.worker_heartbeats.absent_columns]
    return [
        f"There is no column {name}: {lost}."
        for name, lost in LOST.items()
        if name in absent and (not names or name in names)
    ]
