"""What the log tells of a run: claimed, refused, ended."""

from __future__ import annotations

import logging
from typing import Any
from uuid import UUID

from opsconsole_worker.database import door
from opsconsole_worker.kept_rows import RowKept

# Kinds of events of which somebody may have to know.
TROUBLES = frozenset({"failed", "recovered", "quarantined", "late_result_rejected", "claim_refused"})
# The event of each outcome of a report. An end that was told before is not told again.
_ENDS = {
    "completed": "completed",
    "retry_scheduled": "retry_scheduled",
    "failed": "failed",
    "late": "late_result_rejected",
}

# One that was not written may have met another of the same worker at the same moment.
_MISSED_BEFORE_TOLD = 2
_MOST_WORKERS = 10_000
_missed: dict[str, int] = {}


def event(kind: str, job_id: UUID, run_epoch: int | None, **facts: Any) -> None:
    """Write the line of an event of the timeline, which was written by a statement."""
    _tell(words(kind), level(kind), job=job_id, run=run_epoch, **facts)


def words(kind: str) -> str:
    """Return how a line calls this kind of event."""
    return f"job {kind.replace('_', ' ')}"


def level(kind: str) -> int:
    """Return the level of the lines of this kind of event."""
    return logging.WARNING if kind in TROUBLES else logging.INFO


def claimed(job_id: UUID, run_epoch: int, worker_id: str) -> None:
    """Tell that a worker claimed a run."""
    event("claimed", job_id, run_epoch, worker=worker_id)


def refused(job_id: UUID, run_epoch: int | None, worker_id: str, why: str, *, by_rule: bool) -> None:
    """Tell that a claim was refused; ``by_rule``: by a rule of the database, which a person may have to mend."""
    of_rule = logging.WARNING if by_rule else logging.INFO
    _tell("claim refused", of_rule, job=job_id, run=run_epoch, worker=worker_id, why=why)


def given_back(job_id: UUID, worker_id: str) -> None:
    """Tell that a worker gave back a run that it never began."""
    event("requeued", job_id, None, worker=worker_id, why="never begun")


def ended(outcome: str, job_id: UUID, run_epoch: int, worker_id: str) -> None:
    """Tell how a run ended, unless that was told before."""
    if kind := _ENDS.get(outcome):
        event(kind, job_id, run_epoch, worker=worker_id)


def note_heartbeat(worker_id: str, table: str, *, written: bool) -> None:
    """Tell once that the database stores no heartbeats of this worker, and once that it does again."""
    if written:
        if _missed.pop(worker_id, 0) >= _MISSED_BEFORE_TOLD:
            _tell("heartbeats stored again", logging.WARNING, worker=worker_id)
        return
    if len(_missed) >= _MOST_WORKERS:
        _missed.clear()
    _missed[worker_id] = _missed.get(worker_id, 0) + 1
    if _missed[worker_id] == _MISSED_BEFORE_TOLD:
        why = f"{RowKept(table)}: a run without heartbeats is found stale"
        _tell("heartbeats not stored", logging.WARNING, worker=worker_id, why=why)


def _tell(what: str, of_level: int, **facts: Any) -> None:
    door.tell(what, of_level, facts)
