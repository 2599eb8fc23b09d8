"""Backoff of a worker whose database, console or queue is away, or whose row is locked: longer pauses, one log line per change."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from opsconsole_worker import settings
from opsconsole_worker.database.door import RowLocked
from opsconsole_worker.doubling import doubled
from opsconsole_worker.errors import first_line
from opsconsole_worker.reports import reporting

logger = logging.getLogger("opsconsole.worker")

Answer = TypeVar("Answer")

FIRST_PAUSE = timedelta(seconds=0.5)
LONGEST_PAUSE = timedelta(seconds=30)


class Patience:
    """Computes the pauses between tries at something that may be away, and logs each change once."""

    def __init__(self, what: str, trouble: str = "does not answer", relief: str = "answers again") -> None:
        self.what = what
        self.trouble = trouble
        self.relief = relief
        self.failures = 0
        self._last_error: type[BaseException] | None = None

    def failed(self, error: BaseException) -> float:
        """Return the pause before the next try in seconds: doubled each time, with jitter so that workers don't synchronise.

        It is never longer than a beat interval, so that a waiting worker still sends heartbeats, unless the other side asked
        for a longer pause.
        """
        if type(error) is not self._last_error:
            logger.warning("%s, trying again: %s", self._headline(error), first_line(error))
        self._last_error = type(error)
        self.failures += 1
        longest = min(LONGEST_PAUSE, timedelta(seconds=settings.current().beat_seconds))
        pause = doubled(FIRST_PAUSE, self.failures - 1, longest)
        own = pause.total_seconds() * random.uniform(0.5, 1)
        return max(own, reporting.current().pause_asked(error))

    def _headline(self, error: BaseException) -> str:
        return reporting.current().headline(error) or f"{self.what} {self.trouble}"

    def succeeded(self) -> None:
        if self.failures:
            logger.warning("%s %s (failed tries: %d)", self.what, self.relief, self.failures)
        self.failures = 0
        self._last_error = None


class _StopLimit:
    """The time that is left to record what a run did, counted from the first failure after the order to stop."""

    def __init__(self, told_to_stop: threading.Event | None) -> None:
        self._told_to_stop = told_to_stop
        self._ends_at: float | None = None

    def is_over(self) -> bool:
        if self._told_to_stop is None or not self._told_to_stop.is_set():
            return False
        if self._ends_at is None:
            self._ends_at = time.monotonic() + settings.current().stale_after.total_seconds()
        return time.monotonic() >= self._ends_at


def insist(
    action: Callable[[], Answer],
    *,
    meanwhile: Callable[[], object] | None = None,
    told_to_stop: threading.Event | None = None,
) -> Answer:
    """Retry until the report is taken and the row is free, so that no record of what a run did is lost.

    ``meanwhile`` is called between the tries, as far as that succeeds: a waiting run is alive. After
    ``told_to_stop``, raise the last error when the tries fail for longer than the threshold of stale runs.
    """
    reports = reporting.current()
    away = Patience(reports.name)
    locked = Patience("The job's row", "is locked by another transaction", "is free again")
    limit = _StopLimit(told_to_stop)
    while True:
        reports.refresh()
        try:
            answer = action()
        except RowLocked as error:
            away.succeeded()
            pause = locked.failed(error)
            if limit.is_over():
                raise
        except reports.away as error:
            reports.close()
            pause = away.failed(error)
            if limit.is_over():
                raise
        else:
            away.succeeded()
            locked.succeeded()
            return answer
        if meanwhile:
            _try(meanwhile)
        time.sleep(pause)


def _try(action: Callable[[], object]) -> None:
    try:
        action()
    except reporting.current().errors:
        reporting.current().close()
