"""Policy snapshots: immutable values that requests are checked against. An edit creates a new one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from opsconsole.kit.ip_addresses import Address, Network, plain_network

if TYPE_CHECKING:
    from ratelimits.models import Policy

ENFORCE, SHADOW, OFF = "enforce", "shadow", "off"
# From the strictest to the weakest.
MODES = (ENFORCE, SHADOW, OFF)


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicySnapshot:
    """A policy as of one version: ``limit`` requests in ``window`` seconds.

    Snapshots are compared by value, so an edit of another policy leaves this one equal.
    """

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
        """Tell whether the policy covers a request by its path and method."""
        return path.startswith(self.prefixes) and self.covers_method(method)

    def covers_method(self, method: str) -> bool:
        return not self.methods or method in self.methods

    def exempts(self, address: Address | None) -> bool:
        """Tell whether requests from this address are neither counted nor refused."""
        return bool(self.allow) and _is_in(address, self.allow)

    def denies(self, address: Address | None) -> bool:
        """Tell whether requests from this address, unless exempt, are refused without being counted."""
        return bool(self.deny) and self.mode == ENFORCE and _is_in(address, self.deny)


def _is_in(address: Address | None, networks: tuple[Network, ...]) -> bool:
    return address is not None and any(address in network for network in networks)


# The policy that counts the calls by which other services ask for decisions.
CHECK_QUOTA = "limits-check"

# Used until the database has been read for the first time, and for presets whose row is missing.
PRESETS = {
    preset.name: preset
    for preset in (
        PolicySnapshot(name="strict", limit=10, window=60, position=10),
        PolicySnapshot(name="standard", limit=100, window=60, position=20),
        PolicySnapshot(name="relaxed", limit=1_000, window=60, position=30),
        PolicySnapshot(name="api-key", limit=10_000, window=3_600, key="api_key", position=40),
        PolicySnapshot(name=CHECK_QUOTA, limit=6_000, window=60, key="api_key", position=50),
    )
}


def snapshot_of(policy: Policy, mode: str = ENFORCE) -> PolicySnapshot:
    """Take a snapshot of a row. ``mode`` is the global mode; the weaker of the two modes applies."""
    return PolicySnapshot(
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
    return tuple(plain_network(text) for text in texts)
