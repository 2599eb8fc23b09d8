"""What the worker's loop needs of the place to which it reports. The rules of the protocol are the same in both places."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Protocol, TypeAlias
from uuid import UUID

from opsconsole_worker.database.door import Errors
from opsconsole_worker.runs.heartbeats import Verdict, Worker
from opsconsole_worker.runs.lifecycle import Failure, Refused, Run
from opsconsole_worker.runs.running_job import RunningJob

# Who paused the work on a queue, and why.
Pause: TypeAlias = tuple[str, str]


class Reports(Protocol):
    """A place to report to. ``name`` begins the lines about its outages: "The database"."""

    name: str

    @property
    def errors(self) -> Errors:
        """Return what it raises."""

    @property
    def away(self) -> Errors:
        """Return those of the errors after which a retry may help."""

    @property
    def beat_seconds(self) -> float:
        """Return the time between two heartbeats of a run."""

    def headline(self, error: BaseException) -> str | None:
        """Return what kind of trouble this is, for the log; None: it does not answer."""

    def pause_asked(self, error: BaseException) -> float:
        """Return for how many seconds the other side asked to be left alone."""

    def refresh(self) -> None:
        """Close the connection of this thread if it can't be used any longer."""

    def close(self) -> None:
        """Close the connection of this thread; the next report opens another."""

    def idle(self, worker: Worker, queue: str) -> Pause | None:
        """Say that a worker lives and waits for messages of this queue; return whether the queue is paused."""

    def claim(
        self,
        job_id: UUID,
        run_epoch: int | None,
        worker: Worker,
        *,
        dead_letter_id: str | None,
        asked_before: bool,
    ) -> RunningJob | Refused:
        """Claim a run; see ``lifecycle.claim``."""

    def put_off(self, job_id: UUID, run_epoch: int | None, worker: Worker, delay: timedelta) -> bool:
        """Have the message of a waiting run sent again later; see ``lifecycle.put_off``."""

    def give_back(self, job_id: UUID, worker: Worker) -> bool:
        """Requeue a run that never began; see ``lifecycle.give_back``."""

    def count_given_back(self, worker: Worker, *, locked: int, refused: int) -> None:
        """Tell how many messages the worker gave back; see ``heartbeats.count_given_back``."""

    def beat(self, run: Run) -> Verdict:
        """Say that a run is alive; return whether it should continue."""

    def verdict(self, run: Run) -> Verdict:
        """Return whether a run still counts."""

    def note(self, run: Run, text: str, reference: str, *, once: str, asked_before: bool) -> bool:
        """Record what a run has done outside; return False when it no longer counts. See ``lifecycle.note``."""

    @property
    def progress_seconds(self) -> float:
        """Return the least time between two reports of a run's progress."""

    def progress(self, run: Run, percent: float | None, text: str) -> Verdict:
        """Store how far a run is; see ``runs.progress.report``."""

    def complete(self, run: Run, details: Mapping[str, Any]) -> bool:
        """Complete a run; see ``lifecycle.complete``."""

    def fail(self, run: Run, error: str, *, retryable: bool) -> Failure:
        """Record the failure of a run; see ``lifecycle.fail``."""

    def leave(self, worker: Worker) -> None:
        """Remove the row of a worker that ends normally."""
