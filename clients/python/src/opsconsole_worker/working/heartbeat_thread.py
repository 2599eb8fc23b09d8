"""The thread that sends the heartbeats of a run and stops with the work."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from opsconsole_worker.reports import reporting
from opsconsole_worker.reports.protocol import Reports
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
        self._patience = Patience(reporting.current().name)
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
        self.verdict = reporting.current().verdict(self.run)

    def _beat_on(self) -> None:
        reports = reporting.current()
        pause = interval = reports.beat_seconds
        try:
            while not self._ended.wait(pause) and self._owner.is_alive():
                pause = max(interval, self._beat(reports))
        finally:
            reports.close()

    def _beat(self, reports: Reports) -> float:
        """Send a heartbeat; return for how many seconds the other side asked to be left alone."""
        try:
            self.verdict = reports.beat(self.run)
        except reports.errors as error:
            reports.close()
            self._patience.failed(error)
            return reports.pause_asked(error)
        self._patience.succeeded()
        return 0.0
