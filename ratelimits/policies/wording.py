"""What policies and the switch mean, in sentences."""

from __future__ import annotations

from datetime import timedelta

from opsconsole.kit.durations import spell
from ratelimits.models import Mode, Policy

# Measured on Valkey 9: an admission in an exact window, and a counter whatever its limit.
BYTES_AN_ADMISSION = 10
BYTES_A_KEY = 120

_WHO = {
    Policy.Key.DEFAULT: "each API key, signed-in user or address",
    Policy.Key.ADDRESS: "each address",
    Policy.Key.USER: "each signed-in user, and without one each address,",
    Policy.Key.API_KEY: "each API key, and without a valid one each address,",
}
_AWAY = {
    Policy.Away.LOCAL: "each process admits its share of the limit",
    Policy.Away.OPEN: "everything passes",
    Policy.Away.CLOSED: "everything is refused",
}
_MODE = {
    Mode.ENFORCE: "More than that is answered with 429.",
    Mode.SHADOW: "More than that passes, and is recorded as if it had been refused.",
    Mode.OFF: "It is off: nothing is counted, nothing refused.",
}


def rate(policy: Policy) -> str:
    """Such as "100 in 1 min"."""
    return f"{policy.limit:,} in {spell(timedelta(seconds=policy.window_seconds))}"


def scope(policy: Policy) -> str:
    """Which requests it covers by itself."""
    methods = f"{', '.join(policy.methods)} " if policy.methods else ""
    if not policy.path_prefixes:
        return f"{methods}views that name it"
    return f"{methods}{', '.join(policy.path_prefixes)}"


def meaning(policy: Policy) -> str:
    """The whole policy as one would say it."""
    where = f"on {scope(policy)}" if policy.path_prefixes else "on the views that name it"
    exact = policy.algorithm == Policy.Algorithm.MOVING
    size = BYTES_A_KEY + (BYTES_AN_ADMISSION * policy.limit if exact else 0)
    sentences = [
        f"{_WHO[Policy.Key(policy.key)]} may make {rate(policy)} {where}.".capitalize(),
        _MODE[Mode(policy.mode)],
        f"Never more than {policy.limit:,} in any {spell(timedelta(seconds=policy.window_seconds))}."
        if exact
        else "Approximate: a client that paces itself can get up to twice as many through.",
        f"A client that uses all of it takes about {_bytes(size)} in the store.",
        f"While the store is away {_AWAY[Policy.Away(policy.when_store_is_away)]}.",
    ]
    return " ".join(sentences)


def _bytes(size: int) -> str:
    return f"{size:,} bytes" if size < 1_000 else f"{size / 1_000:,.1f} kB"
