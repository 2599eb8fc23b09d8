"""What this process knows about each client's counts, for when the store does not answer or has lost them.

The store counts exactly. This memory is coarser: it keeps a window in ``PARTS`` parts, and a part counts until all of it
has left the window. So it never forgets an admission too early, and needs little memory.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from ratelimits.policies.policy_snapshot import PolicySnapshot

PARTS = 10
MAX_CLIENTS = 10_000


class Owed(NamedTuple):
    """What a store must learn about a client: it counted ``at_least`` this before it lost its data, and ``more`` came since.

    ``at``: the time of the first, by the store's clock.
    """

    at_least: int = 0
    at: int = 0
    more: int = 0


NOTHING = Owed()


@dataclass(slots=True)
class _Client:
    """A client. ``used``: the store's last answer, which holds until ``used_until``; ``at``: its time, and ``generation`` its
    generation then.

    ``untold``: the admissions without the store, as [number of the part, admissions], oldest first.
    """

    policy: PolicySnapshot
    used: int = 0
    used_until: float = 0.0
    at: int = 0
    generation: int = 0
    untold: deque[list[int]] = field(default_factory=deque)


class Admissions:
    """The admissions without the store in the last window, and the store's last answers, by store key.

    ``clock`` must be monotonic. When the table is full, the client added first is forgotten.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, max_clients: int = MAX_CLIENTS) -> None:
        self._clock = clock
        self._max_clients = max_clients
        self._lock = threading.Lock()
        self._clients: dict[str, _Client] = {}

    def __len__(self) -> int:
        return len(self._clients)

    def add(self, key: str, policy: PolicySnapshot, count: int) -> None:
        """Remember admissions that the store does not know."""
        with self._lock:
            client = self._client(key, policy)
            part = self._part(policy)
            if not client.untold or client.untold[-1][0] != part:
                client.untold.append([part, 0])
            client.untold[-1][1] += count

    def learn(self, key: str, policy: PolicySnapshot, used: int, at: int, generation: int) -> None:
        """Remember the store's answer: how much of the limit is used at that time of its clock."""
        with self._lock:
            client = self._client(key, policy)
            client.used, client.used_until = used, self._clock() + policy.window
            client.at, client.generation = at, generation

    def owed(self, key: str, generation: int) -> Owed:
        """Return what a store of this generation does not know about the client."""
        client = self._clients.get(key)
        if client is None or (client.generation == generation and not client.untold):
            return NOTHING
        with self._lock:
            client = self._clients.get(key)
            return self._owed(client, generation) if client else NOTHING

    def clients(self) -> list[str]:
        """Return the keys of all clients."""
        with self._lock:
            return list(self._clients)

    def owing(self, generation: Callable[[str], int]) -> list[tuple[PolicySnapshot, str]]:
        """Return the clients of whom the store does not know something. ``generation``: the store's for a key."""
        with self._lock:
            return [
                (client.policy, key)
                for key, client in self._clients.items()
                if self._owed(client, generation(key)) != NOTHING
            ]

    def note_told(self, keys: Iterable[str], generation: int) -> None:
        """Remember that a store of this generation knows everything about these clients."""
        with self._lock:
            for key in keys:
                if client := self._clients.get(key):
                    client.generation = generation
                    client.untold.clear()

    def forget(self, key: str) -> None:
        """Forget a client that an operator frees."""
        with self._lock:
            self._clients.pop(key, None)

    def left(self, key: str, policy: PolicySnapshot) -> int | None:
        """Return how much of the limit was left at the store's last answer; None if that is a window ago or longer."""
        client = self._clients.get(key)
        if client is None or self._clock() >= client.used_until:
            return None
        return max(0, policy.limit - client.used)

    def _owed(self, client: _Client, generation: int) -> Owed:
        if client.untold:
            oldest = self._part(client.policy) - PARTS
            while client.untold and client.untold[0][0] < oldest:
                client.untold.popleft()
        known = client.generation
        lost = known and known != generation and self._clock() < client.used_until
        if not lost and not client.untold:
            return NOTHING
        more = sum([count for _, count in client.untold])
        return Owed(client.used, client.at, more) if lost else Owed(more=more)

    def _client(self, key: str, policy: PolicySnapshot) -> _Client:
        client = self._clients.get(key)
        if client is None:
            if len(self._clients) >= self._max_clients:
                self._clients.pop(next(iter(self._clients)))
            client = self._clients[key] = _Client(policy)
        elif client.policy.window != policy.window and client.untold:
            # The window was edited, and with it the parts. Everything counts as admitted now.
            client.untold = deque([[self._part(policy), sum(count for _, count in client.untold)]])
        client.policy = policy
        return client

    def _part(self, policy: PolicySnapshot) -> int:
        return int(self._clock() * PARTS // policy.window)
