"""Whether the store is asked at all: after a failure it is left alone for a while, then tried by one request."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

SKIP_SECONDS = 5.0
LONGEST_SKIP_SECONDS = 30.0


class Breaker:
    """``clock`` gives seconds that never go back. ``why``: what the store's trouble is, empty when it answers."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._open = False
        self._trying = False
        self._skip = SKIP_SECONDS
        self._try_at = 0.0
        self.why = ""

    @property
    def pause(self) -> float:
        """Seconds until the store is tried again."""
        return max(0.0, self._try_at - self._clock()) if self._open else 0.0

    def admits(self) -> bool:
        """Whether this request should ask the store. While it is away, one of them after each pause does."""
        if not self._open:
            return True
        with self._lock:
            if self._trying or self._clock() < self._try_at:
                return False
            # The others go on without it until this one knows. A store that came back meanwhile is asked anyway.
            self._trying = True
            return True

    def failed(self, why: str) -> bool:
        """The store did not answer. True: until now it had."""
        with self._lock:
            first = not self._open
            if not first and not self._trying:
                # Asked before it was known: no reason to wait longer.
                return False
            self._skip = SKIP_SECONDS if first else min(2 * self._skip, LONGEST_SKIP_SECONDS)
            self._try_at = self._clock() + self._skip
            self._open, self._trying, self.why = True, False, why
            return first

    def succeeded(self) -> bool:
        """The store answered. True: until now it had not."""
        if not self._open:
            return False
        with self._lock:
            was_open, self._open, self._trying, self.why = self._open, False, False, ""
            return was_open
