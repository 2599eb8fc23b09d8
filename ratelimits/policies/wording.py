"""Descriptions of policies in sentences."""

from __future__ import annotations

from datetime import timedelta

from opsconsole.kit.durations import spell
from ratelimits.models import Mode, Policy

# Measured on Valkey 9: one counted request of an exact window, and one counter, whatever its limit.
BYTES_PER_REQUEST = 10
BYTES_PER_KEY = 120
_UNITS = {1: "second", 60: "minute", 3_600: "hour", 86_400: "day"}
_CLIENTS = {
    Policy.Key.DEFAULT: "Each API key, signed-in user or address",
    Policy.Key.ADDRESS: "Each address",
    Policy.Key.USER: "Each signed-in user (or address, if nobody is signed in)",
    Policy.Key.API_KEY: "Each API key (or address, if there is no valid key)",
}
_AWAY = {
    Policy.Away.LOCAL: "each process admits its share of the limit",
    Policy.Away.OPEN: "every request is allowed",
    Policy.Away.CLOSED: "every request is refused",
}
_MODE = {
    Mode.ENFORCE: "Requests above the limit are refused with 429.",
    Mode.SHADOW: "Requests above the limit are recorded but allowed.",
    Mode.OFF: "The policy is off: it counts and refuses nothing.",
}


def rate(policy: Policy) -> str:
    """Return the limit and its window, such as "100 per minute" or "20 per 10 min"."""
    return f"{policy.limit:,} {_per_window(policy)}"


def scope(policy: Policy) -> str:
    """Return which requests the policy covers."""
    methods = f"{', '.join(policy.methods)} " if policy.methods else ""
    if not policy.path_prefixes:
        return f"{methods}views that name it"
    return f"{methods}{', '.join(policy.path_prefixes)}"


def meaning(policy: Policy) -> str:
    """Describe the whole policy."""
    where = f"to {scope(policy)}" if policy.path_prefixes else "to the views that name this policy"
    exact = policy.algorithm == Policy.Algorithm.MOVING
    size = BYTES_PER_KEY + (BYTES_PER_REQUEST * policy.limit if exact else 0)
    sentences = [
        f"{_CLIENTS[Policy.Key(policy.key)]} may make {policy.limit:,} requests {_per_window(policy)} {where}.",
        _MODE[Mode(policy.mode)],
        f"The count is exact: no more than {policy.limit:,} in any window of {_window(policy)}."
        if exact
        else "The count is approximate: a client that paces its requests may make up to twice as many.",
        f"A client that uses its whole limit takes about {_bytes(size)} in the store.",
        f"While the store is unavailable, {_AWAY[Policy.Away(policy.when_store_is_away)]}.",
    ]
    return " ".join(sentences)


def _per_window(policy: Policy) -> str:
    return f"per {_UNITS.get(policy.window_seconds) or _window(policy)}"


def _window(policy: Policy) -> str:
    return spell(timedelta(seconds=policy.window_seconds))


def _bytes(size: int) -> str:
    return f"{size:,} bytes" if size < 1_000 else f"{size / 1_000:,.1f} kB"
