"""The limiter's decision about one request under one policy."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import NamedTuple

from opsconsole.kit.errors import OpsConsoleError
from ratelimits.engine.local_counter import LocalCount
from ratelimits.policies.policy_snapshot import ENFORCE, SHADOW, PolicySnapshot


class Outcome(StrEnum):
    """The outcome of a request, as the records store it."""

    ALLOWED = "allowed"
    LIMITED = "limited"
    # The request exceeded a policy in shadow mode, and was allowed.
    SHADOW = "shadow"
    # The request came from a network that the policy denies.
    DENIED = "denied"


class CostAboveLimit(OpsConsoleError):
    """No request of this cost could ever be allowed; the message says which limit it exceeds."""


class Decision(NamedTuple):
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
        """``reset_after`` in whole seconds, and at most the window, as the RateLimit header wants it."""
        return min(math.ceil(self.reset_after), self.snapshot.window)

    @property
    def retry_after(self) -> int:
        """Whole seconds until the request would be allowed, rounded up so that no client comes back too early; 0 if it is."""
        return 0 if self.allowed else math.ceil(self.reset_after)

    @property
    def outcome(self) -> Outcome:
        if self.denied:
            return Outcome.DENIED
        if not self.exceeded:
            return Outcome.ALLOWED
        return Outcome.SHADOW if self.snapshot.mode == SHADOW else Outcome.LIMITED


def unlimited(policy: PolicySnapshot, *, degraded: bool = False) -> Decision:
    """Return the decision that allows a request without counting it."""
    return Decision(
        policy, allowed=True, exceeded=False, remaining=policy.limit, reset_after=0, degraded=degraded
    )


def closed(policy: PolicySnapshot, seconds: float) -> Decision:
    """Return the decision that refuses every request while the store is away: it may be tried again in ``seconds``.

    Shadow mode refuses nothing.
    """
    return Decision(
        policy,
        allowed=policy.mode != ENFORCE,
        exceeded=True,
        remaining=0,
        reset_after=seconds,
        degraded=True,
    )


def counted_locally(policy: PolicySnapshot, count: LocalCount, limit: int, *, degraded: bool) -> Decision:
    """Return the decision of a process that counts on its own, up to ``limit``. Shadow mode refuses nothing."""
    return Decision(
        policy,
        allowed=count.fits or policy.mode != ENFORCE,
        exceeded=not count.fits,
        remaining=max(0, limit - count.used),
        reset_after=count.free,
        degraded=degraded,
    )
