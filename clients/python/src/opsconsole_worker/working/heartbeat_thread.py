"""The thread that sends the heartbeats and the progress of a run, and stops with the work."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from opsconsole_worker.reports import reporting
from opsconsole_worker.reports.protocol import Reports
from opsconsole_worker.runs.heartbeats import Verdict
from opsconsole_worker.runs.lifecycle import Run
from opsconsole_worker.working.outages import Patience
from opsconsole_worker.working.unsent_progress import UnsentProgress


class Pulse:
    """Sends heartbeats for a run during its ``with`` block, and knows from the last one whether the run still counts.

    It continues after a bad verdict, because a worker that still works on a cancelled run must be seen. It ends with the
    thread that created it, so that a worker whose main thread died is found dead.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.verdict = Verdict.GO_ON
        self._ended = threading.Event()
        self._called = threading.Event()
        self.progress = UnsentProgress(run, self._called)
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
        self._called.set()
        # A heartbeat in flight must not arrive after the run's end and name the job again.
        self._thread.join()

    def look(self) -> None:
        """Ask at once whether the run still counts, without waiting for the next heartbeat."""
        self.verdict = reporting.current().verdict(self.run)

    def _beat_on(self) -> None:
        reports = reporting.current()
        interval = reports.beat_seconds
        beat_at = time.monotonic() + interval
        try:
            while self._wait_until(beat_at) and self._owner.is_alive():
                if self.progress.due_in() == 0:
                    self.verdict = self.progress.send() or self.verdict
                if time.monotonic() >= beat_at:
                    pause = max(interval, self._beat(reports))
                    beat_at = time.monotonic() + pause
        finally:
            reports.close()

    def _wait_until(self, beat_at: float) -> bool:
        """Wait for the next heartbeat, or until progress is due. Return False once the work has ended."""
        self._called.clear()
        left, due_in = beat_at - time.monotonic(), self.progress.due_in()
        if not self._ended.is_set():
            if due_in is None:
                self._called.wait(left)
            else:
                self._ended.wait(min(left, due_in))
        return not self._ended.is_set()

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
