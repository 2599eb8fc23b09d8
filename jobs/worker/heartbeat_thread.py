"""The beats of a run, from a thread that stops with the work."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from django.conf import settings
from django.db import Error, connection

from jobs.runs import heartbeats
from jobs.runs.heartbeats import Verdict
from jobs.runs.lifecycle import Run
from jobs.worker.backoff import Patience


class Pulse:
    """Beats for a run while its ``with`` block lasts, and knows from the last beat whether the run still counts.

    It goes on after a bad verdict: a worker that still works on a cancelled run must be seen doing so. It ends
    with the thread that made it, so a worker whose main thread died is found dead.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.verdict = Verdict.GO_ON
        self._ended = threading.Event()
        self._owner = threading.current_thread()
        self._patience = Patience("The database")
        self._thread = threading.Thread(target=self._beat_on, name=f"beat {run.job_id}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        # A beat on its way must not land after the run's end and name the job again.
        self._thread.join()

    def look(self) -> None:
        """Ask at once whether the run still counts, without waiting for the next beat."""
        self.verdict = heartbeats.verdict(self.run.job_id, self.run.epoch)

    def _beat_on(self) -> None:
        interval = settings.OPSCONSOLE_BEAT_INTERVAL_SECONDS
        try:
            while not self._ended.wait(interval) and self._owner.is_alive():
                self._beat()
        finally:
            connection.close()

    def _beat(self) -> None:
        try:
            self.verdict = heartbeats.beat(self.run.worker, self.run.job_id, self.run.epoch)
        except Error as error:
            connection.close()
            self._patience.failed(error)
        else:
            self._patience.succeeded()
