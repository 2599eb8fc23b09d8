"""Clients that are known to be blocked: a flood of refused requests never reaches the store."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ratelimits.policies.policy_snapshot import Terms

MOST = 10_000


class Blocked:
    """By policy and identity: until when. An edit of the policy makes its entries void, since its terms differ."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, most: int = MOST) -> None:
        self._clock = clock
        self._most = most
        self._lock = threading.Lock()
        self._until: dict[str, tuple[float, Terms]] = {}

    def __len__(self) -> int:
        return len(self._until)

    def clear(self) -> None:
        with self._lock:
            self._until.clear()

    def seconds(self, key: str, terms: Terms) -> float:
        """How long it is still blocked; 0 when it isn't known to be."""
        found = self._until.get(key)
        if found is None:
            return 0.0
        until, under = found
        left = until - self._clock()
        if left > 0 and under is terms:
            return left
        self._until.pop(key, None)
        return 0.0

    def add(self, key: str, terms: Terms, until: float) -> None:
        """Remember it, in place of the one that was remembered longest ago when there are too many."""
        with self._lock:
            if len(self._until) >= self._most:
                self._until.pop(next(iter(self._until)), None)
            self._until[key] = (until, terms)
