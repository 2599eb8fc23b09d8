"""Records that wait in memory to be written: counts by minute, bounded whatever happens."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from ratelimits.models import KEPT

MOST = 5_000
OTHERS = "(other)"
MINUTE = 60


class Entry(NamedTuple):
    """What is counted together. ``minute``: minutes since 1970."""

    minute: int
    policy: str
    key: str
    endpoint: str
    method: str
    outcome: str


class Pending:
    """``clock`` gives seconds since 1970. Beyond ``most`` kinds of requests all others count as one."""

    def __init__(self, clock: Callable[[], float] = time.time, most: int = MOST) -> None:
        self._clock = clock
        self._most = most
        self._lock = threading.Lock()
        self._hits: dict[Entry, int] = {}

    def __len__(self) -> int:
        return len(self._hits)

    def add(self, policy: str, key: str, endpoint: str, method: str, outcome: str) -> None:
        entry = Entry(int(self._clock()) // MINUTE, policy, key, endpoint, method, outcome)
        with self._lock:
            self._count(entry, 1)

    def take(self) -> dict[Entry, int]:
        """All counts, which are no longer held here."""
        with self._lock:
            taken, self._hits = self._hits, {}
        return taken

    def put_back(self, taken: Mapping[Entry, int]) -> None:
        """They could not be written. What is older than records are kept is let go."""
        oldest = (int(self._clock()) - int(KEPT.total_seconds())) // MINUTE
        with self._lock:
            for entry, hits in taken.items():
                if entry.minute >= oldest:
                    self._count(entry, hits)

    def _count(self, entry: Entry, hits: int) -> None:
        if entry not in self._hits and len(self._hits) >= self._most:
            entry = entry._replace(key=OTHERS, endpoint=OTHERS, method=OTHERS)
        self._hits[entry] = self._hits.get(entry, 0) + hits
