"""How a worker bears with a database or a queue that is away: it waits longer each time, and says so once."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from django.conf import settings
from django.db import (
    InterfaceError,
    InternalError,
    OperationalError,
    close_old_connections,
    connection,
)

from opsconsole.kit.errors import first_line

logger = logging.getLogger("jobs.worker")

Answer = TypeVar("Answer")

# Trying again may help. InternalError: among others a standby that became read-only.
DATABASE_AWAY = (OperationalError, InterfaceError, InternalError)
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0


class Patience:
    """The pauses between tries at one thing that may be away; the log hears of each change once."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.failures = 0
        self._trouble: type[BaseException] | None = None

    def failed(self, error: BaseException) -> float:
        """The pause before the next try, in seconds: doubled each time, spread so that workers don't march.

        Never longer than a beat interval, so that a worker which waits still beats.
        """
        if type(error) is not self._trouble:
            logger.warning("%s does not answer, trying again: %s", self.what, first_line(error))
        self._trouble = type(error)
        self.failures += 1
        longest = min(LONGEST_PAUSE_SECONDS, settings.OPSCONSOLE_BEAT_INTERVAL_SECONDS)
        pause = min(longest, FIRST_PAUSE_SECONDS * (1 << min(self.failures - 1, 10)))
        return pause * random.uniform(0.5, 1)

    def succeeded(self) -> None:
        if self.failures:
            logger.warning("%s answers again (failed tries: %d)", self.what, self.failures)
        self.failures = 0
        self._trouble = None


def insist(action: Callable[[], Answer]) -> Answer:
    """Do it, for as long as it takes the database to be there: what a run did or cost is not to be lost."""
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
