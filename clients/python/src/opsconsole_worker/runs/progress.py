"""How far a run is, in percent and words: one row per run, overwritten. The next run of the job receives the last one.

Notes are acts: each stays on the timeline. Progress says only how far the run is, so a later report replaces it.
"""
# ruff: noqa: S608 - only names and pieces of SQL from this code are put together; values are parameters

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from opsconsole_worker.database import door
from opsconsole_worker.database.troubles import Trouble
from opsconsole_worker.errors import first_line
from opsconsole_worker.runs import beat_statements, heartbeats
from opsconsole_worker.runs.heartbeats import Verdict, Worker
from opsconsole_worker.runs.tables import JOBS
from opsconsole_worker.storable import plain_text

logger = logging.getLogger("opsconsole.worker")

LONGEST_TEXT = 500
_DECIMALS = 10

# It locks nothing, as a note: a handler may report while its own transaction holds the row.
REPORT = f"""
WITH told AS (
    INSERT INTO run_progress AS progress (job_id, run_epoch, percent, text)
    SELECT %(job_id)s, %(epoch)s, %(percent)s::numeric, %(text)s::text
     WHERE EXISTS (SELECT FROM {JOBS.aliased_rows} WHERE {beat_statements.THIS_RUN})
    ON CONFLICT (job_id, run_epoch) DO UPDATE
   SET percent = excluded.percent, text = excluded.text, at = statement_timestamp()
)
{beat_statements.VERDICT}
"""
LAST = """
SELECT percent::float8, text, run_epoch, at FROM run_progress
 WHERE job_id = %(job_id)s AND run_epoch < %(epoch)s ORDER BY run_epoch DESC LIMIT 1
"""
_MISSING = {Trouble.NOT_MIGRATED, Trouble.NOT_GRANTED}


class InvalidProgress(ValueError):
    """A handler reported something that is no progress; the sentence says what is accepted."""

    # The name by which handlers import it stands in errors and identifies groups of failures.
    __module__ = "opsconsole_worker"


@dataclass(frozen=True)
class Progress:
    """How far a run was. ``percent`` is None where the handler did not know it; ``epoch`` names the run, ``at`` the report's time."""

    percent: float | None
    text: str
    epoch: int
    at: datetime


def checked_progress(percent: object, text: object) -> tuple[float | None, str]:
    """Return both as they are stored: percent to one decimal, never rounded up, and a text of bounded length.

    Raise ``InvalidProgress`` unless percent is None or a number from 0 to 100, and the text is a text.
    """
    if not isinstance(text, str):
        raise InvalidProgress(f"The text of the progress must be a str, not {type(text).__name__}.")
    if percent is None:
        if not text.strip():
            raise InvalidProgress("Progress without percent needs a text.")
        return None, plain_text(text)[:LONGEST_TEXT]
    # To Python, True is 1.
    if isinstance(percent, bool) or not isinstance(percent, int | float) or not 0 <= percent <= 100:
        raise InvalidProgress(f"Percent must be a number from 0 to 100, or None, not {percent!r}.")
    return math.floor(percent * _DECIMALS) / _DECIMALS, plain_text(text)[:LONGEST_TEXT]


def report(worker: Worker, job_id: UUID, run_epoch: int, percent: float | None, text: str) -> Verdict:
    """Store how far the run is, unless it no longer counts; return whether it should continue.

    Raise ``WorkerIdTaken`` if the worker's id is another key's.
    """
    percent_parameters = {"job_id": job_id, "epoch": run_epoch, "percent": percent, "text": text}
    [rows] = door.run(REPORT, percent_parameters | worker.parameters)
    return heartbeats.verdict_of(rows)


def last(job_id: UUID, run_epoch: int) -> Progress | None:
    """Return the last progress of the job's earlier runs.

    A role that an earlier version granted its privileges may not read it: then there is none, and the log says what is missing.
    """
    if run_epoch <= 1:
        return None
    asked: dict[str, Any] = {"job_id": job_id, "epoch": run_epoch}
    try:
        [rows] = door.run(LAST, asked)
    except door.errors() as error:
        if door.current().trouble(error) not in _MISSING:
            raise
        logger.warning("The progress of earlier runs can't be read (docs/workers.md): %s", first_line(error))
        return None
    return Progress(*rows[0]) if rows else None
