"""The progress that a handler reported and nobody has yet: only the newest, sent at most once per interval."""

from __future__ import annotations

import logging
import threading
import time

from opsconsole_worker.errors import first_line
from opsconsole_worker.reports import reporting
from opsconsole_worker.runs.heartbeats import Verdict
from opsconsole_worker.runs.lifecycle import Run
from opsconsole_worker.working.outages import Patience

logger = logging.getLogger("opsconsole.worker")


class UnsentProgress:
    """Keeps the newest report of a run until it is sent. However often a handler reports, it costs no more than that.

    ``called`` is set when there is something to send. What the console refuses for good is logged once per run, and the run goes on.
    """

    def __init__(self, run: Run, called: threading.Event) -> None:
        self._run = run
        self._called = called
        self._newest: tuple[float | None, str] | None = None
        self._due_at = 0.0
        self._refused = False
        self._lock = threading.Lock()
        self._patience = Patience(reporting.current().name)

    def put(self, percent: float | None, text: str) -> None:
        """Keep this report in place of an earlier one."""
        with self._lock:
            self._newest = None if self._refused else (percent, text)
        self._called.set()

    def due_in(self) -> float | None:
        """Return after how many seconds it may be sent; None while there is none."""
        return None if self._newest is None else max(0.0, self._due_at - time.monotonic())

    def send(self) -> Verdict | None:
        """Send it. Return whether the run still counts; None if that was not learned."""
        reports, sent = reporting.current(), self._newest
        if sent is None:
            return None
        pause = reports.progress_seconds
        try:
            verdict = reports.progress(self._run, *sent)
        except reports.away as error:
            reports.close()
            pause = max(pause, self._patience.failed(error))
            return None
        except reports.errors as error:
            self._refuse(error)
            reports.close()
            return None
        else:
            self._patience.succeeded()
            self._sent(sent)
            return verdict
        finally:
            self._due_at = time.monotonic() + pause

    def send_last(self) -> None:
        """Send what is left when the work has ended, whenever the one before was sent."""
        if self._newest is not None:
            self.send()

    def _sent(self, sent: tuple[float | None, str]) -> None:
        with self._lock:
            if self._newest is sent:
                self._newest = None

    def _refuse(self, error: BaseException) -> None:
        logger.warning(
            "%s run %d: its progress can't be kept (docs/workers.md): %s",
            self._run.job_id,
            self._run.epoch,
            first_line(error),
        )
        with self._lock:
            self._refused, self._newest = True, None
