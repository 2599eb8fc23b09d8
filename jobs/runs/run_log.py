"""What the log tells of a run: claimed, refused, ended."""

from __future__ import annotations

import logging
from uuid import UUID

from jobs.models import JobEvent
from jobs.runs import timeline
from opsconsole.kit import activity

# By the outcome of a report. An end that was told before is not told again.
_ENDS = {
    "completed": JobEvent.Kind.COMPLETED,
    "retry_scheduled": JobEvent.Kind.RETRY_SCHEDULED,
    "failed": JobEvent.Kind.FAILED,
    "late": JobEvent.Kind.LATE_RESULT_REJECTED,
}


def claimed(job_id: UUID, run_epoch: int, worker_id: str) -> None:
    timeline.log(JobEvent.Kind.CLAIMED, job_id, run_epoch, worker=worker_id)


def refused(job_id: UUID, run_epoch: int | None, worker_id: str, why: str, *, by_rule: bool) -> None:
    """Tell that a claim was refused; ``by_rule``: by a rule of the database, which a person may have to mend."""
    level = logging.WARNING if by_rule else logging.INFO
    activity.done("claim refused", level=level, job=job_id, run=run_epoch, worker=worker_id, why=why)


def given_back(job_id: UUID, worker_id: str) -> None:
    timeline.log(JobEvent.Kind.REQUEUED, job_id, None, worker=worker_id, why="never begun")


def ended(outcome: str, job_id: UUID, run_epoch: int, worker_id: str) -> None:
    if kind := _ENDS.get(outcome):
        timeline.log(kind, job_id, run_epoch, worker=worker_id)
