"""Exact counting within this process, in bounded memory, for use while the store is unavailable."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

MAX_KEYS = 10_000
MAX_REQUESTS = 500_000
OVERFLOW_SUFFIX = "(other)"
# Times are whole microseconds, as in the store: with fractions of a second, rounding would decide at a window's edge.
MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class LocalCount:
    """The same answer as the store's script gives. ``free``: seconds until there is room."""

    fits: bool
    used: int
    free: float


class LocalWindows:
    """Moving windows by key. ``clock`` must be monotonic.

    All keys beyond ``max_keys`` share one window per policy, and once ``max_requests`` requests are held, every request
    is refused. A flood of addresses can therefore fill the reserved memory, but lets no client exceed its limit.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        max_keys: int = MAX_KEYS,
        max_requests: int = MAX_REQUESTS,
    ) -> None:
        self._clock = clock
        self._max_keys = max_keys
        self._max_requests = max_requests
        self._lock = threading.Lock()
        # By key: the length of the window, and the time of each counted request, oldest first.
        self._windows: dict[str, tuple[int, deque[int]]] = {}
        self._requests = 0
        self._swept_at = 0

    def __len__(self) -> int:
        return len(self._windows)

    def count(self, key: str, limit: int, window: int, cost: int) -> LocalCount:
        """Count ``cost`` requests if they fit into a window of ``window`` seconds."""
        length = window * MICROSECONDS
        with self._lock:
            now = round(self._clock() * MICROSECONDS)
            times = self._times(key, length, now)
            self._drop_before(times, now - length)
            fits = len(times) + cost <= limit and self._requests + cost <= self._max_requests
            if fits:
                times.extend([now] * cost)
                self._requests += cost
            leaving = 0 if fits else min(max(len(times) + cost - limit, 1), len(times)) - 1
            # A request exactly as old as the window still counts, so it leaves a microsecond later.
            free = times[leaving] + length - now + 1 if times else length
            return LocalCount(fits=fits, used=len(times), free=free / MICROSECONDS)

    def take_back(self, key: str, cost: int) -> None:
        """Count ``cost`` requests less, which were just counted and are refused by another limit."""
        with self._lock:
            kept = key if key in self._windows else _overflow(key)
            _, times = self._windows.get(kept, (0, deque[int]()))
            for _ in range(min(cost, len(times))):
                times.pop()
                self._requests -= 1

    def forget(self, key: str) -> None:
        """Forget the requests counted under this key."""
        with self._lock:
            _, times = self._windows.pop(key, (0, deque[int]()))
            self._requests -= len(times)

    def _times(self, key: str, length: int, now: int) -> deque[int]:
        if key not in self._windows and len(self._windows) >= self._max_keys:
            self._sweep(now)
            if len(self._windows) >= self._max_keys:
                key = _overflow(key)
        _, times = self._windows.get(key, (length, None))
        times = deque() if times is None else times
        self._windows[key] = (length, times)
        return times

    def _drop_before(self, times: deque[int], start: int) -> None:
        while times and times[0] < start:
            times.popleft()
            self._requests -= 1

    def _sweep(self, now: int) -> None:
        """Drop the keys without counted requests. This visits every key, so it runs at most once per second."""
        if now < self._swept_at + MICROSECONDS:
            return
        self._swept_at = now
        for key, (length, times) in list(self._windows.items()):
            self._drop_before(times, now - length)
            if not times:
                del self._windows[key]


def _overflow(key: str) -> str:
    """Return the key of all clients of the same policy for whom there is no room."""
    return key.split(":", 2)[1] + OVERFLOW_SUFFIX


def local_limit(limit: int, processes: int) -> int:
    """Return how many requests each process admits while the store is unavailable: its share, but at least one."""
    return max(1, limit // processes)
