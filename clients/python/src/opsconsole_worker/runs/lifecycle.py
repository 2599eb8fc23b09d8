"""The life cycle of a run: claim, notes, completion and failure, each a compare-and-set on epoch and worker (I1)."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from opsconsole_worker import refusals, settings
from opsconsole_worker.bounded_values import UnreadableDocument
from opsconsole_worker.database import door
from opsconsole_worker.database.door import RowLocked, Rows
from opsconsole_worker.doubling import MOST_DOUBLINGS, doubled
from opsconsole_worker.mapping.contract_words import CANCELLED, COMPLETED, FAILED, PENDING
from opsconsole_worker.mapping.mapped_jobs import NoWord
from opsconsole_worker.messages import REASON_LENGTH, ROW_LOCKED
from opsconsole_worker.runs import claim_statement, heartbeats, progress, run_log, statements
from opsconsole_worker.runs.heartbeats import Worker
from opsconsole_worker.runs.running_job import RunningJob
from opsconsole_worker.runs.tables import JOBS
from opsconsole_worker.runs.worker_ids import WorkerIdTaken
from opsconsole_worker.storable import json_text, plain_text

LONGEST_BACKOFF = timedelta(hours=1)
ERROR_LENGTH = 10_000
# A row that stays locked for three seconds is often locked for longer, and SQS counts each receive.
FIRST_LOCKED_RELEASE = timedelta(seconds=30)
LONGEST_RELEASE = timedelta(minutes=15)
# A run that a rule of the database refuses for longer is left to SQS, which makes a dead letter of its message.
LONGEST_REFUSED = timedelta(days=1)


class Refusal(StrEnum):
    """Why a claim was refused. A ``settled`` refusal is final: the message may be deleted."""

    UNKNOWN_JOB = "the job is not in the database (yet)"
    SUPERSEDED = "a later run of the job exists"
    ALREADY_CLAIMED = "the run was claimed before"
    ENDED = "the job is completed or cancelled"
    TOO_EARLY = "the run may not start yet"
    NOT_WAITING = "the job is not waiting for this run"
    UNREADABLE = "the job's payload can't be read, so the job has failed"
    AHEAD = "the message is about a later run than the row, as after a restore of the database"
    LOCKED = "another transaction locks the job's row"
    WORKER_ID_TAKEN = "another API key reports under this worker_id, and its worker is alive"
    REFUSED_BY_DATABASE = "a rule of the database refuses the claim"

    @property
    def settled(self) -> bool:
        return self in {Refusal.SUPERSEDED, Refusal.ALREADY_CLAIMED, Refusal.ENDED, Refusal.UNREADABLE}


@dataclass(frozen=True)
class Run:
    """One run of a job, by one worker."""

    job_id: UUID
    epoch: int
    worker: Worker

    @property
    def parameters(self) -> dict[str, Any]:
        """Return what the statements of ``opsconsole_worker.runs.statements`` read of a run."""
        return {"job_id": self.job_id, "epoch": self.epoch} | self.worker.parameters


@dataclass(frozen=True)
class Refused:
    """A refused claim. ``rule``: the constraint or trigger of theirs that refuses it, and has for the time ``since``."""

    refusal: Refusal
    retry_in: timedelta = timedelta(0)
    rule: refusals.Refusal | None = None
    since: timedelta = timedelta(0)

    @property
    def sentence(self) -> str:
        if self.rule:
            return f"{self.rule.sentence} Nothing was changed."
        return f"{self.refusal.value[0].upper()}{self.refusal.value[1:]}."


class Failure(StrEnum):
    """The outcome of a reported failure."""

    RETRY = "retry"
    FAILED = "failed"
    REJECTED = "rejected"


def claim(
    job_id: UUID,
    run_epoch: int | None,
    worker: Worker,
    *,
    dead_letter_id: str | None = None,
    asked_before: bool = False,
) -> RunningJob | Refused:
    """Claim the run for this worker, or return why that was refused: see ``_claim``. The log has either."""
    claimed = _claim(job_id, run_epoch, worker, dead_letter_id=dead_letter_id, asked_before=asked_before)
    if isinstance(claimed, Refused):
        why = claimed.rule.rule if claimed.rule else claimed.refusal.value
        run_log.refused(job_id, run_epoch, worker.id, why, by_rule=claimed.rule is not None)
    else:
        run_log.claimed(job_id, claimed.epoch, worker.id)
    return claimed


def _claim(
    job_id: UUID,
    run_epoch: int | None,
    worker: Worker,
    *,
    dead_letter_id: str | None,
    asked_before: bool,
) -> RunningJob | Refused:
    """Claim the run for this worker, or return why that was refused. Without an epoch, the pending run is meant.

    A message that was redriven from the dead letter queue outside the console restarts its dead job once (I9).
    ``asked_before``: this worker asked before without getting an answer and has begun nothing, so that a run which it
    claimed then is its own.
    """
    parameters = {
        "job_id": job_id,
        "epoch": run_epoch,
        "redriven": bool(dead_letter_id and run_epoch),
        "asked_before": asked_before,
    }
    try:
        won, rows = claim_statement.run(parameters | worker.parameters)
    except RowLocked:
        return Refused(Refusal.LOCKED, FIRST_LOCKED_RELEASE)
    except door.errors() as error:
        rule = refusals.of(error)
        if rule is None:
            raise
        return _refused_by(rule, parameters | worker.parameters)
    if won:
        return _claimed(Run(job_id, won[0][0], worker))
    refused = _refusal(run_epoch, rows)
    if refused.refusal is Refusal.AHEAD:
        heartbeats.note_ahead(worker, job_id, run_epoch)
    return refused


def _refused_by(rule: refusals.Refusal, parameters: dict[str, Any]) -> Refused:
    """Record that a rule of the database refuses the run. It may allow it later, as one run at a time per customer.

    The delay grows with the refusals of the run, whichever worker and message asked.
    """
    refusal = {"sentence": rule.sentence, "rule": rule.rule}
    [rows] = door.run(statements.NOTE_REFUSED, parameters | refusal)
    times, since = rows[0] if rows else (0, timedelta(0))
    delay = doubled(FIRST_LOCKED_RELEASE, times, LONGEST_RELEASE)
    return Refused(Refusal.REFUSED_BY_DATABASE, delay, rule, since)


def _claimed(run: Run) -> RunningJob | Refused:
    """Read the job of a claimed run, apart from the claim: a large payload must not hold up a transaction."""
    [rows] = door.run(statements.READ, {"job_id": run.job_id})
    try:
        job = RunningJob.of_row(rows[0], progress.last(run.job_id, run.epoch)) if rows else None
    except UnreadableDocument as error:
        fail(run, f"The payload can't be read. {error}", retryable=False)
        return Refused(Refusal.UNREADABLE)
    if job is None:
        return Refused(Refusal.UNKNOWN_JOB)
    return job if job.epoch == run.epoch else Refused(Refusal.SUPERSEDED)


def _refusal(run_epoch: int | None, rows: Rows) -> Refused:
    """Return why a claim was refused, from the row that it met. Pure."""
    if not rows:
        return Refused(Refusal.UNKNOWN_JOB)
    status, current_epoch, claimed_epoch, wait, id_is_taken = rows[0]
    if status in {COMPLETED, CANCELLED}:
        return Refused(Refusal.ENDED)
    if run_epoch is not None and run_epoch != current_epoch:
        return Refused(Refusal.SUPERSEDED if run_epoch < current_epoch else Refusal.AHEAD)
    if claimed_epoch == current_epoch:
        return Refused(Refusal.ALREADY_CLAIMED)
    if id_is_taken:
        return Refused(Refusal.WORKER_ID_TAKEN, FIRST_LOCKED_RELEASE)
    is_early = status == PENDING and wait is not None
    return (
        Refused(Refusal.TOO_EARLY, max(wait, timedelta(seconds=1)))
        if is_early
        else Refused(Refusal.NOT_WAITING)
    )


def put_off(job_id: UUID, run_epoch: int | None, delay: timedelta) -> bool:
    """Have the message of a waiting run sent again after this time. Return False when the run does not wait."""
    parameters = {"job_id": job_id, "epoch": run_epoch, "delay": delay, "reason": ROW_LOCKED}
    [posted] = door.run(statements.PUT_OFF, parameters)
    return bool(posted)


def give_back(job_id: UUID, worker: Worker) -> bool:
    """Requeue the run that this worker claimed without getting the answer and can no longer begin.

    Return False when it has claimed none. Raise ``RowKept`` where the database keeps the row as it was.
    """
    reason = "Claimed when the connection broke and the worker was told to stop. The run never began."
    parameters = {"job_id": job_id, "reason": reason}
    back, kept = door.run(statements.GIVE_BACK, parameters | worker.parameters)
    if kept and not back:
        raise door.current().row_kept(JOBS.name)
    if back:
        run_log.given_back(job_id, worker.id)
    return bool(back)


def complete(run: Run, details: Mapping[str, Any] | None = None) -> bool:
    """Complete the run. Return False when it was superseded or cancelled: the late result is refused and recorded.

    Repeating the call is harmless: a worker does so when the connection broke before the answer.
    """
    stored = {"details": json_text(dict(details or {})), "tried": "completed", "error": ""}
    return _end(statements.COMPLETE, run, stored) != "late"


def fail(run: Run, error: str, *, retryable: bool = True) -> Failure:
    """Record a failure: another run follows after a backoff, or a dead letter when the attempts are used up.

    Raise ``NoWord`` where the run can't end, because the database has no word for a failed job.
    """
    stored = {
        "error": plain_text(error)[:ERROR_LENGTH],
        "tried": "failed",
        "retryable": retryable,
        "max_attempts": settings.current().max_attempts,
        "delays": [backoff(failures).total_seconds() for failures in range(1, MOST_DOUBLINGS + 2)],
        "reason_length": REASON_LENGTH,
    }
    outcome = _end(statements.FAIL, run, stored)
    if outcome == statements.NO_WORD:
        raise NoWord(f"{JOBS.no_word(FAILED)} The run was not ended.")
    return _FAILURES[outcome]


_FAILURES = {
    "retry_scheduled": Failure.RETRY,
    "retry before": Failure.RETRY,
    "failed": Failure.FAILED,
    "failed before": Failure.FAILED,
    "late": Failure.REJECTED,
}


def _end(statement: str, run: Run, stored: dict[str, Any]) -> str:
    """Report the end of a run; return the outcome. Raise ``RowLocked`` when its row stays locked, ``RowKept`` when it is kept."""
    _, [[outcome]] = door.run(statement, run.parameters | stored)
    if outcome == statements.KEPT:
        raise door.current().row_kept(JOBS.name)
    run_log.ended(outcome, run.job_id, run.epoch, run.worker.id)
    return str(outcome)


def backoff(failures: int) -> timedelta:
    """Return the pause before the next run: doubled per failure, with a jitter of a tenth, at most an hour."""
    first = settings.current().retry_backoff
    return doubled(first, failures - 1, LONGEST_BACKOFF) * random.uniform(0.9, 1.1)


def note(
    run: Run, text: str, *, reference: str = "", once: str | None = None, asked_before: bool = False
) -> bool:
    """Record what the run has done outside (an id, a link), which is shown before anybody requeues it.

    ``once`` names the note among those of the run; one that was ``asked_before`` without an answer is kept once.

    Return False when the run no longer counts; the note is stored nevertheless, as an act of a superseded run. Raise
    ``WorkerIdTaken`` if the worker's id is another key's.
    """
    stored = {
        "note": plain_text(text)[:ERROR_LENGTH],
        "reference": plain_text(reference)[:ERROR_LENGTH],
        "once": once,
        "asked_before": asked_before and once is not None,
    }
    _, rows = door.run(statements.NOTE, run.parameters | stored)
    if not rows:
        raise WorkerIdTaken
    return bool(rows[0][0])


def paused(queue: str) -> tuple[str, str] | None:
    """Return who paused the work on this queue, and why; None while nobody has."""
    [rows] = door.run(statements.PAUSED, {"queue": queue})
    return (rows[0][0], rows[0][1]) if rows else None
