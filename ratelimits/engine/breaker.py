"""A circuit breaker for the store: after a failure the store is skipped for a while, then tried by one request."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

SKIP_SECONDS = 5.0
LONGEST_SKIP_SECONDS = 30.0


class Breaker:
    """``clock`` must be monotonic. ``error`` describes the store's failure, and is empty while the store answers."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._open = False
        self._trying = False
        self._skip = SKIP_SECONDS
        self._try_at = 0.0
        self.error = ""

    @property
    def seconds_until_retry(self) -> float:
        return max(0.0, self._try_at - self._clock()) if self._open else 0.0

    def allows_attempt(self) -> bool:
        """Tell whether this request may ask the store. During an outage, one request may do so after each pause."""
        if not self._open:
            return True
        with self._lock:
            if self._trying or self._clock() < self._try_at:
                return False
            # Other requests keep skipping the store until this attempt has ended.
            self._trying = True
            return True

    def record_failure(self, error: str) -> bool:
        """Note that the store did not answer. Return True if this is the first failure of an outage."""
        with self._lock:
            first = not self._open
            if not first and not self._trying:
                # This request asked before the outage was known, so the pause does not grow.
                return False
            self._skip = SKIP_SECONDS if first else min(2 * self._skip, LONGEST_SKIP_SECONDS)
            self._try_at = self._clock() + self._skip
            self._open, self._trying, self.error = True, False, error
            return first

    def record_success(self) -> bool:
        """Note that the store answered. Return True if that ends an outage."""
        if not self._open:
            return False
        with self._lock:
            was_open, self._open, self._trying, self.error = self._open, False, False, ""
            return was_open
