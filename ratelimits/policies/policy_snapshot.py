"""A policy as a request meets it: a value that no edit changes. Edits make new ones (``ratelimits.policies.in_force``)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ratelimits.models import Policy

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

ENFORCE, SHADOW, OFF = "enforce", "shadow", "off"
# The weaker of two modes is the later.
MODES = (ENFORCE, SHADOW, OFF)


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """``limit`` requests in ``window`` seconds. Compared by value: an edit of others leaves it the same."""

    name: str
    limit: int
    window: int
    algorithm: Literal["moving", "counter"] = "moving"
    mode: str = ENFORCE
    key: str = "default"
    prefixes: tuple[str, ...] = ()
    methods: frozenset[str] = frozenset()
    allow: tuple[Network, ...] = ()
    deny: tuple[Network, ...] = ()
    away: str = "local"
    position: int = 100

    def covers(self, path: str, method: str) -> bool:
        """Whether it applies to a request by its path."""
        return path.startswith(self.prefixes) and self.covers_method(method)

    def covers_method(self, method: str) -> bool:
        return not self.methods or method in self.methods


# What holds until the database was read for the first time, and where a preset's row is missing.
PRESETS = {
    preset.name: preset
    for preset in (
        Terms(name="strict", limit=10, window=60, position=10),
        Terms(name="standard", limit=100, window=60, position=20),
        Terms(name="relaxed", limit=1_000, window=60, position=30),
        Terms(name="api-key", limit=10_000, window=3_600, key="api_key", position=40),
    )
}


def of(policy: Policy, mode: str = ENFORCE) -> Terms:
    """The terms of a row; ``mode`` is the global switch, and the weaker of the two holds."""
    return Terms(
        name=policy.name,
        limit=policy.limit,
        window=policy.window_seconds,
        algorithm="counter" if policy.algorithm == "counter" else "moving",
        mode=max(policy.mode, mode, key=MODES.index),
        key=policy.key,
        prefixes=tuple(policy.path_prefixes),
        methods=frozenset(policy.methods),
        allow=_networks(policy.allow_networks),
        deny=_networks(policy.deny_networks),
        away=policy.when_store_is_away,
        position=policy.position,
    )


def _networks(texts: Iterable[str]) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in texts)
