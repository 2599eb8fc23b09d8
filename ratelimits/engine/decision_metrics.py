"""Metrics of the limiter: what it decides, and how long that takes."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

from opsconsole.kit import metrics
from ratelimits.engine.decision import Decision


def counted(decide: Callable[[], list[Decision]]) -> list[Decision]:
    """Decide, and count it."""
    began = perf_counter()
    decisions = decide()
    metrics.LIMITER_SECONDS.observe(perf_counter() - began)
    for decision in decisions:
        metrics.LIMITER_DECISIONS.count(
            policy=decision.policy, outcome=decision.outcome.value, degraded=str(decision.degraded).lower()
        )
    return decisions
