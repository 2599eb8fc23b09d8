"""The limiter's state, in this process and in the store, reset for a test."""

from __future__ import annotations

from functools import cache

from django.conf import settings
from redis import Redis

from ratelimits.engine import questions, store
from ratelimits.policies import policy_cache


def use_built_in() -> None:
    """Use the built-in presets, whatever the database contains, until ``policy_cache.clear`` is called."""
    policy_cache._state.policies, policy_cache._state.check_at = policy_cache._BUILT_IN, float("inf")


def clear_counts() -> None:
    """Delete the counts of all clients, in the store and in this process."""
    store.reset()
    if settings.OPSCONSOLE_RATE_LIMIT_STORE:
        client = _client(settings.OPSCONSOLE_RATE_LIMIT_STORE)
        if keys := list(client.scan_iter(f"{questions.PREFIX}*", count=1_000)):
            client.unlink(*keys)


@cache
def _client(url: str) -> Redis:
    """Return a client that stays connected: to connect takes longer than to look, and every test looks."""
    return Redis.from_url(url)
