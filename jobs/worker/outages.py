"""Backoff of a worker whose database or queue is away: longer pauses, and one log line per change."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from django.conf import settings
from django.db import (
    InterfaceError,
    InternalError,
    OperationalError,
    close_old_connections,
    connection,
)

from opsconsole.kit.doubling import doubled
from opsconsole.kit.errors import first_line

logger = logging.getLogger("jobs.worker")

Answer = TypeVar("Answer")

# Errors after which a retry may help. InternalError includes a server that became a read-only standby.
DATABASE_AWAY = (OperationalError, InterfaceError, InternalError)
FIRST_PAUSE = timedelta(seconds=0.5)
LONGEST_PAUSE = timedelta(seconds=30)


class Patience:
    """Computes the pauses between tries at something that may be away, and logs each change once."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.failures = 0
        self._trouble: type[BaseException] | None = None

    def failed(self, error: BaseException) -> float:
        """Return the pause before the next try in seconds: doubled each time, with jitter so that workers don't synchronise.

        It is never longer than a beat interval, so that a waiting worker still sends heartbeats.
        """
        if type(error) is not self._trouble:
            logger.warning("%s does not answer, trying again: %s", self.what, first_line(error))
        self._trouble = type(error)
        self.failures += 1
        longest = min(LONGEST_PAUSE, timedelta(seconds=settings.OPSCONSOLE_BEAT_INTERVAL_SECONDS))
        pause = doubled(FIRST_PAUSE, self.failures - 1, longest)
        return pause.total_seconds() * random.uniform(0.5, 1)

    def succeeded(self) -> None:
        if self.failures:
            logger.warning("%s answers again (failed tries: %d)", self.what, self.failures)
        self.failures = 0
        self._trouble = None


def insist(action: Callable[[], Answer]) -> Answer:
    """Retry until the database answers, so that no record of what a run did is lost."""
    patience = Patience("The database")
    while True:
        close_old_connections()
        try:
            answer = action()
        except DATABASE_AWAY as error:
            connection.close()
            time.sleep(patience.failed(error))
        else:
            patience.succeeded()
            return answer
