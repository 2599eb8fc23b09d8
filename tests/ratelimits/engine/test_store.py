"""The limit of the module-level engine, for one thread and for several."""

from __future__ import annotations

from ratelimits.engine import store
from ratelimits.policies.policy_snapshot import PolicySnapshot
from tests.racing import race

POLICY = PolicySnapshot(name="test", limit=100, window=60)


def admitted(count: int, policy: PolicySnapshot = POLICY, identity: str = "a") -> int:
    return sum(store.check(policy, identity).allowed for _ in range(count))


def test_first_hundred_requests_are_allowed_and_the_next_fifty_refused() -> None:
    assert admitted(150) == 100


def test_threads_share_the_limit() -> None:
    assert sum(race([lambda: admitted(50)] * 8)) == 100
