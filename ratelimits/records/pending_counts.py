"""Counts of requests that wait in memory to be written, per minute and in bounded memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from ratelimits.models import KEPT

MAX_COUNTS = 5_000
OTHERS = "(other)"
MINUTE = 60


class CountKey(NamedTuple):
    """The properties that requests counted together share. ``minute``: minutes since 1970."""

    minute: int
    policy: str
    key: str
    endpoint: str
    method: str
    outcome: str


class PendingCounts:
    """``clock`` returns seconds since 1970. Beyond ``max_counts`` counts, the remaining requests share one."""

    def __init__(self, clock: Callable[[], float] = time.time, max_counts: int = MAX_COUNTS) -> None:
        self._clock = clock
        self._max_counts = max_counts
        self._lock = threading.Lock()
        self._hits: dict[CountKey, int] = {}

    def __len__(self) -> int:
        return len(self._hits)

    def add(self, policy: str, key: str, endpoint: str, method: str, outcome: str) -> None:
        count_key = CountKey(int(self._clock()) // MINUTE, policy, key, endpoint, method, outcome)
        with self._lock:
            self._count(count_key, 1)

    def take(self) -> dict[CountKey, int]:
        """Remove and return all counts."""
        with self._lock:
            counts, self._hits = self._hits, {}
        return counts

    def put_back(self, counts: Mapping[CountKey, int]) -> None:
        """Add counts that could not be written. Drop those older than records are kept."""
        oldest = (int(self._clock()) - int(KEPT.total_seconds())) // MINUTE
        with self._lock:
            for count_key, hits in counts.items():
                if count_key.minute >= oldest:
                    self._count(count_key, hits)

    def _count(self, count_key: CountKey, hits: int) -> None:
        if count_key not in self._hits and len(self._hits) >= self._max_counts:
            count_key = count_key._replace(key=OTHERS, endpoint=OTHERS, method=OTHERS)
        self._hits[count_key] = self._hits.get(count_key, 0) + hits
