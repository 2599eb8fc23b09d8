"""Counting in this process alone, while the store is away: exact, and of bounded memory."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

MOST_KEYS = 10_000
MOST_ENTRIES = 500_000
OTHERS = "(other)"
# What is as old as the window still counts.
MOMENT = 1e-6


@dataclass(frozen=True, slots=True)
class Asked:
    """As the store's script answers. ``free``: seconds."""

    fits: bool
    used: int
    free: float


class LocalWindows:
    """Moving windows by key. ``clock`` gives seconds that never go back.

    Keys beyond ``most_keys`` share one window, and beyond ``most_entries`` counted requests all are refused: a
    flood of addresses may fill the memory set aside for it, and passes nobody through for that.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        most_keys: int = MOST_KEYS,
        most_entries: int = MOST_ENTRIES,
    ) -> None:
        self._clock = clock
        self._most_keys = most_keys
        self._most_entries = most_entries
        self._lock = threading.Lock()
        # By key: the seconds of its window, and when each counted request was, the oldest first.
        self._windows: dict[str, tuple[int, deque[float]]] = {}
        self._entries = 0
        self._swept_at = 0.0

    def __len__(self) -> int:
        return len(self._windows)

    def ask(self, key: str, limit: int, window: int, cost: int) -> Asked:
        """Count ``cost`` requests if they fit; whether they do."""
        with self._lock:
            now = self._clock()
            times = self._times(key, window, now)
            self._forget_before(times, now - window)
            if len(times) + cost <= limit and self._entries + cost <= self._most_entries:
                times.extend([now] * cost)
                self._entries += cost
                return Asked(fits=True, used=len(times), free=times[0] + window - now + MOMENT)
            freeing = min(max(len(times) + cost - limit, 1), len(times)) - 1
            free = times[freeing] + window - now + MOMENT if times else float(window)
            return Asked(fits=False, used=len(times), free=free)

    def _times(self, key: str, window: int, now: float) -> deque[float]:
        if key not in self._windows and len(self._windows) >= self._most_keys:
            self._sweep(now)
            if len(self._windows) >= self._most_keys:
                key = key.split(":", 2)[1] + OTHERS
        _, times = self._windows.get(key, (window, None))
        times = deque() if times is None else times
        self._windows[key] = (window, times)
        return times

    def _forget_before(self, times: deque[float], began: float) -> None:
        while times and times[0] < began:
            times.popleft()
            self._entries -= 1

    def _sweep(self, now: float) -> None:
        """Drop the keys of which nothing counts any more; at most once a second, since it walks them all."""
        if now < self._swept_at + 1:
            return
        self._swept_at = now
        for key, (window, times) in list(self._windows.items()):
            self._forget_before(times, now - window)
            if not times:
                del self._windows[key]
