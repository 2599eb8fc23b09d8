"""What the limiter answers about one request under one policy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from ratelimits.policies.policy_snapshot import SHADOW, Terms


class Outcome(StrEnum):
    """How a request ended for the limiter, as the records call it."""

    ALLOWED = "allowed"
    LIMITED = "limited"
    # It would have been limited; the policy was in shadow mode.
    SHADOW = "shadow"
    # It came from a network that the policy denies.
    DENIED = "denied"


@dataclass(frozen=True, slots=True)
class Decision:
    """``allowed``: whether the request may go on. ``exceeded``: whether the limit was reached (in shadow mode both).

    ``reset_after``: exact seconds until the oldest counted request leaves the window; for one that exceeded,
    until one like it would pass. ``degraded``: decided without the shared store.
    """

    terms: Terms
    allowed: bool
    exceeded: bool
    remaining: int
    reset_after: float
    degraded: bool = False
    denied: bool = False

    @property
    def policy(self) -> str:
        return self.terms.name

    @property
    def limit(self) -> int:
        return self.terms.limit

    @property
    def window(self) -> int:
        return self.terms.window

    @property
    def reset(self) -> int:
        """``reset_after`` in whole seconds. After that many it has passed: never told too early."""
        return math.ceil(self.reset_after)

    @property
    def retry_after(self) -> int:
        """Whole seconds after which the request would pass; 0 when it may go on now."""
        return 0 if self.allowed else self.reset

    @property
    def outcome(self) -> Outcome:
        if self.denied:
            return Outcome.DENIED
        if not self.exceeded:
            return Outcome.ALLOWED
        return Outcome.SHADOW if self.terms.mode == SHADOW else Outcome.LIMITED
