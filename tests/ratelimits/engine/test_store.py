"""The limiter's decisions: exact, shared, and true about when to come back."""

from __future__ import annotations

from ratelimits.engine import store
from ratelimits.policies.policy_snapshot import PolicySnapshot
from tests.racing import race

TERMS = PolicySnapshot(name="test", limit=100, window=60)


def admitted(count: int, terms: PolicySnapshot = TERMS, identity: str = "a") -> int:
    return sum(store.check(terms, identity).allowed for _ in range(count))


def test_the_first_hundred_pass_and_the_next_fifty_do_not() -> None:
    assert admitted(150) == 100


def test_many_threads_share_the_limit() -> None:
    assert sum(race([lambda: admitted(50)] * 8)) == 100
