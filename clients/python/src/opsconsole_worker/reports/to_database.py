"""Reports to the database itself, through ``opsconsole_worker.database.door``."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from opsconsole_worker import settings
from opsconsole_worker.database import door
from opsconsole_worker.database.troubles import Trouble, headline, sqlstate_of
from opsconsole_worker.reports import session
from opsconsole_worker.reports.protocol import Pause
from opsconsole_worker.runs import heartbeats, lifecycle, progress
from opsconsole_worker.runs.heartbeats import Verdict, Worker
from opsconsole_worker.runs.lifecycle import Failure, Refused, Run
from opsconsole_worker.runs.running_job import RunningJob

PROGRESS_SECONDS = 1.0


class DatabaseReports:
    """Each report is one round trip to the database; see ``protocol.Reports``."""

    name = "The database"

    def __init__(self) -> None:
        self._of_thread = threading.local()

    @property
    def errors(self) -> door.Errors:
        """Return what the database raises."""
        return door.errors()

    @property
    def away(self) -> door.Errors:
        """Return the errors after which a retry may help."""
        return door.away()

    @property
    def beat_seconds(self) -> float:
        """Return the configured time between two heartbeats."""
        return settings.current().beat_seconds

    def headline(self, error: BaseException) -> str | None:
        """Return which state of the database this is, or that it refused a statement."""
        trouble = door.current().trouble(error)
        if trouble is None and sqlstate_of(error):
            return f"{self.name} refused a statement"
        return None if trouble in {None, Trouble.AWAY} else headline(trouble)

    def pause_asked(self, error: BaseException) -> float:
        """Return 0: a database asks for no pause."""
        return 0.0

    def refresh(self) -> None:
        """Close the connection of this thread if it is broken or old."""
        door.current().refresh()

    def close(self) -> None:
        """Close the connection of this thread."""
        door.current().close()

    def idle(self, worker: Worker, queue: str) -> Pause | None:
        """Write the row of an idle worker; return who paused its queue."""
        door.current().require_tables()
        self._limit_session()
        heartbeats.say(worker)
        return lifecycle.paused(queue)

    def _limit_session(self) -> None:
        now = door.current().session
        if now is None or now is not getattr(self._of_thread, "limited", None):
            self._of_thread.limited = session.limit()

    def claim(
        self,
        job_id: UUID,
        run_epoch: int | None,
        worker: Worker,
        *,
        dead_letter_id: str | None,
        asked_before: bool,
    ) -> RunningJob | Refused:
        """Claim a run."""
        return lifecycle.claim(
            job_id, run_epoch, worker, dead_letter_id=dead_letter_id, asked_before=asked_before
        )

    def put_off(self, job_id: UUID, run_epoch: int | None, worker: Worker, delay: timedelta) -> bool:
        """Have the message of a waiting run sent again later."""
        return lifecycle.put_off(job_id, run_epoch, delay)

    def give_back(self, job_id: UUID, worker: Worker) -> bool:
        """Requeue a run that never began."""
        return lifecycle.give_back(job_id, worker)

    def count_given_back(self, worker: Worker, *, locked: int, refused: int) -> None:
        """Write into the worker's row how many messages it gave back."""
        heartbeats.count_given_back(worker, locked=locked, refused=refused)

    def beat(self, run: Run) -> Verdict:
        """Write the heartbeat of a run."""
        return heartbeats.beat(run.worker, run.job_id, run.epoch)

    def verdict(self, run: Run) -> Verdict:
        """Read whether a run still counts."""
        return heartbeats.verdict(run.job_id, run.epoch, run.worker)

    def note(self, run: Run, text: str, reference: str, *, once: str, asked_before: bool) -> bool:
        """Record what a run has done outside."""
        return lifecycle.note(run, text, reference=reference, once=once, asked_before=asked_before)

    @property
    def progress_seconds(self) -> float:
        """Return a second."""
        return PROGRESS_SECONDS

    def progress(self, run: Run, percent: float | None, text: str) -> Verdict:
        """Store how far a run is."""
        return progress.report(run.worker, run.job_id, run.epoch, percent, text)

    def complete(self, run: Run, details: Mapping[str, Any]) -> bool:
        """Complete a run."""
        return lifecycle.complete(run, details)

    def fail(self, run: Run, error: str, *, retryable: bool) -> Failure:
        """Record the failure of a run."""
        return lifecycle.fail(run, error, retryable=retryable)

    def leave(self, worker: Worker) -> None:
        """Delete the worker's row."""
        heartbeats.leave(worker)
