"""The limiter's decision about one request under one policy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from ratelimits.policies.policy_snapshot import SHADOW, PolicySnapshot


class Outcome(StrEnum):
    """The outcome of a request, as the records store it."""

    ALLOWED = "allowed"
    LIMITED = "limited"
    # The request exceeded a policy in shadow mode, and was allowed.
    SHADOW = "shadow"
    # The request came from a network that the policy denies.
    DENIED = "denied"


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision, with what the client needs to know about its limit.

    ``allowed``: whether the request may proceed. ``exceeded``: whether it exceeded the limit; in shadow mode both
    can be true. ``reset_after``: exact seconds until the oldest counted request leaves the window or, if the request
    exceeded the limit, until a similar request would be allowed. ``degraded``: whether the decision was made without
    the shared store.
    """

    snapshot: PolicySnapshot
    allowed: bool
    exceeded: bool
    remaining: int
    reset_after: float
    degraded: bool = False
    denied: bool = False

    @property
    def policy(self) -> str:
        return self.snapshot.name

    @property
    def limit(self) -> int:
        return self.snapshot.limit

    @property
    def window(self) -> int:
        return self.snapshot.window

    @property
    def reset(self) -> int:
        """``reset_after`` in whole seconds, rounded up so that a client never comes back too early."""
        return math.ceil(self.reset_after)

    @property
    def retry_after(self) -> int:
        """Whole seconds until the request would be allowed, 0 if it is allowed now."""
        return 0 if self.allowed else self.reset

    @property
    def outcome(self) -> Outcome:
        if self.denied:
            return Outcome.DENIED
        if not self.exceeded:
            return Outcome.ALLOWED
        return Outcome.SHADOW if self.snapshot.mode == SHADOW else Outcome.LIMITED
