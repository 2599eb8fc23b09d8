"""The thread that sends the heartbeats of a run and stops with the work."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from opsconsole_worker import settings
from opsconsole_worker.database import door
from opsconsole_worker.runs import heartbeats
from opsconsole_worker.runs.heartbeats import Verdict
from opsconsole_worker.runs.lifecycle import Run
from opsconsole_worker.working.outages import Patience


class Pulse:
    """Sends heartbeats for a run during its ``with`` block, and knows from the last one whether the run still counts.

    It continues after a bad verdict, because a worker that still works on a cancelled run must be seen. It ends with the
    thread that created it, so that a worker whose main thread died is found dead.
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
        # A heartbeat in flight must not arrive after the run's end and name the job again.
        self._thread.join()

    def look(self) -> None:
        """Ask at once whether the run still counts, without waiting for the next heartbeat."""
        self.verdict = heartbeats.verdict(self.run.job_id, self.run.epoch, self.run.worker)

    def _beat_on(self) -> None:
        interval = settings.current().beat_seconds
        try:
            while not self._ended.wait(interval) and self._owner.is_alive():
                self._beat()
        finally:
            door.current().close()

    def _beat(self) -> None:
        try:
            self.verdict = heartbeats.beat(self.run.worker, self.run.job_id, self.run.epoch)
        except door.errors() as error:
            door.current().close()
            self._patience.failed(error)
        else:
            self._patience.succeeded()
