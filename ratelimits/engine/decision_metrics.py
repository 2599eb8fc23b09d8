"""Metrics of the limiter: what it decides, and how long that takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter

from opsconsole.kit import metrics
from ratelimits.engine.decision import Decision
from ratelimits.engine.questions import PolicyAndKey

Decide = Callable[[Sequence[PolicyAndKey], int], list[Decision]]


def counted(decide: Decide, asked: Sequence[PolicyAndKey], cost: int) -> list[Decision]:
    """Decide, and count it where anything is counted."""
    if not metrics.are_on():
        return decide(asked, cost)
    began = perf_counter()
    decisions = decide(asked, cost)
    metrics.LIMITER_SECONDS.observe(perf_counter() - began)
    for decision in decisions:
        metrics.LIMITER_DECISIONS.count(
            policy=decision.policy, outcome=decision.outcome.value, degraded=str(decision.degraded).lower()
        )
    return decisions
