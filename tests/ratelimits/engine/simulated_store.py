"""The real store with a simulated clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import redis
from django.conf import settings

from ratelimits.engine import script
from ratelimits.engine.engine import Engine
from ratelimits.engine.questions import Answer, Question
from ratelimits.engine.store_client import Store
from ratelimits.policies.policy_snapshot import PolicySnapshot

CLOCK = "{redis.call('get', 'test:seconds'), redis.call('get', 'test:microseconds')}"
SECOND = 1_000_000
START = 1_800_000_000 * SECOND


def url() -> str:
    assert settings.OPSCONSOLE_RATE_LIMIT_STORE
    return settings.OPSCONSOLE_RATE_LIMIT_STORE


def client() -> redis.Redis:
    return redis.Redis.from_url(url())


def simulated_store() -> Store:
    """Return a store that uses ``Clock``, and waits long enough for an answer on a busy machine."""
    return Store(url(), script.source(CLOCK), timeout=10)


@dataclass
class Clock:
    """A clock for the store and the processes, in microseconds since 1970."""

    now: int = START
    store: redis.Redis = field(default_factory=client)

    def __post_init__(self) -> None:
        self.pass_(0)

    def pass_(self, microseconds: int) -> None:
        self.now += microseconds
        self.store.mset({"test:seconds": self.now // SECOND, "test:microseconds": self.now % SECOND})

    def monotonic(self) -> float:
        return (self.now - START) / SECOND


def ask(store: Store, policy: PolicySnapshot, key: str, cost: int = 1) -> tuple[bool, int, int]:
    """Ask the store. Return (fits, used, microseconds until there is room)."""
    fits, used, free = numbers(store, [policy], key, cost)
    return bool(fits), used, free


def numbers(store: Store, policies: Sequence[PolicySnapshot], key: str, cost: int = 1) -> Sequence[int]:
    """Ask the store. Return its three numbers for each policy."""
    counted = [(policy, f"rl:{policy.name}:{key}") for policy in policies]
    [answer] = store.ask([Question("", counted, cost)])
    assert isinstance(answer, Answer)
    return [int(number) for standing in answer.standings for number in standing[:3]]


def process(clock: Clock, processes: int = 1) -> Engine:
    """Return the engine of one process that shares the store."""
    return Engine(simulated_store(), processes=processes, clock=clock.monotonic)
