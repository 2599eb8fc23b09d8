"""Clients known to be blocked, so that a flood of refused requests never reaches the store."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ratelimits.policies.policy_snapshot import PolicySnapshot

MAX_CLIENTS = 10_000


class BlockedClients:
    """The time until which each client is blocked, by store key.

    An entry also holds the policy snapshot that it was made under. An edited policy has a new snapshot, which makes
    its older entries invalid.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, max_clients: int = MAX_CLIENTS) -> None:
        self._clock = clock
        self._max_clients = max_clients
        self._lock = threading.Lock()
        self._until: dict[str, tuple[float, PolicySnapshot]] = {}

    def __len__(self) -> int:
        return len(self._until)

    def clear(self) -> None:
        with self._lock:
            self._until.clear()

    def forget(self, key: str) -> None:
        self._until.pop(key, None)

    def seconds_left(self, key: str, policy: PolicySnapshot) -> float:
        """Return how long the client stays blocked, or 0 if it is not known to be blocked."""
        entry = self._until.get(key)
        if entry is None:
            return 0.0
        until, blocking_policy = entry
        seconds = until - self._clock()
        if seconds > 0 and blocking_policy is policy:
            return seconds
        self._until.pop(key, None)
        return 0.0

    def add(self, key: str, policy: PolicySnapshot, until: float) -> None:
        """Remember a blocked client. When the table is full, forget the oldest entry."""
        with self._lock:
            if len(self._until) >= self._max_clients:
                self._until.pop(next(iter(self._until)), None)
            self._until[key] = (until, policy)
