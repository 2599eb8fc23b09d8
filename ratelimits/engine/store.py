"""The engine: decides whether a request is within its limits. No other module knows the store.

``ratelimits.engine.engine`` has the decisions of this process; these functions ask it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from django.conf import settings
from redis.exceptions import RedisError

from ratelimits.engine import forgotten_counts
from ratelimits.engine.decision import CostAboveLimit, Decision
from ratelimits.engine.engine import Engine
from ratelimits.engine.shared_store import SharedStore
from ratelimits.engine.store_facts import StoreFacts
from ratelimits.policies import policy_cache
from ratelimits.policies.policy_snapshot import ENFORCE, PolicySnapshot

# Nobody waits for these as for a decision.
FACTS_SECONDS = 3.0


def check(policy: PolicySnapshot | str, identity: str, *, cost: int = 1) -> Decision:
    """Count ``cost`` requests of ``identity`` under a policy, unless they exceed the limit.

    ``policy`` may be the name of a policy. An unknown name raises ``UnknownPolicy``, a cost above the limit
    ``CostAboveLimit``.
    """
    return _engine.check_all([affordable(policy, cost)], [identity], cost=cost)[0]


def affordable(policy: PolicySnapshot | str, cost: int) -> PolicySnapshot:
    """Return the policy, or the one with this name. A cost that it could never allow raises ``CostAboveLimit``."""
    snapshot = policy_cache.current().get(policy) if isinstance(policy, str) else policy
    if cost > snapshot.limit and snapshot.mode == ENFORCE:
        raise CostAboveLimit(
            f"A request with a cost of {cost} can never be allowed: the limit of the policy '{snapshot.name}' is "
            f"{snapshot.limit}."
        )
    return snapshot


def check_all(
    policies: Sequence[PolicySnapshot], identities: Sequence[str], *, cost: int = 1
) -> list[Decision]:
    """Check one request under several policies. See ``Engine.check_all``."""
    return _engine.check_all(policies, identities, cost=cost)


def remaining(policy: PolicySnapshot, identity: str) -> int | None:
    """Return how much of its limit a client has left, without counting; None if only the store knows and doesn't answer."""
    return _engine.remaining(policy, identity)


def free(policies: Sequence[PolicySnapshot], identity: str) -> list[int]:
    """Forget what a client used under each policy, and return how much that was. Raise ``StoreAway`` without the store."""
    return _engine.free(policies, identity)


def degraded() -> str:
    """Return why the shared store is not in use, or an empty string if it is."""
    return _engine.degraded


def keep_store_informed() -> None:
    """Try the store again if it was unavailable and the pause is over, and tell it what it has lost or missed."""
    _engine.probe()
    _engine.tell()


def eviction() -> str:
    """Return the ``maxmemory-policy`` of a store that evicts keys, which loses counts; '' for any other."""
    return _engine.store.eviction() if _engine.store else ""


def facts() -> StoreFacts | None:
    """Ask the shared store what it says of itself, after a probe that writes to it; None without a store.

    Raise ``StoreAway`` when it does not answer or refuses.
    """
    url = settings.OPSCONSOLE_RATE_LIMIT_STORE
    if not url:
        return None
    store = SharedStore(url, timeout=FACTS_SECONDS)
    try:
        store.probe()
        return store.facts()
    except RedisError as error:
        raise forgotten_counts.StoreAway(
            f"The store does not work: {type(error).__name__}: {error}."
        ) from error


def reset() -> None:
    """Drop connections, blocked clients and local counts, and read the store's address again."""
    global _engine  # noqa: PLW0603 - one per process
    url = settings.OPSCONSOLE_RATE_LIMIT_STORE
    _engine = Engine(SharedStore(url) if url else None, processes=settings.OPSCONSOLE_WEB_PROCESSES)


_engine: Engine
reset()
# Two processes must not share a connection.
os.register_at_fork(after_in_child=reset)
