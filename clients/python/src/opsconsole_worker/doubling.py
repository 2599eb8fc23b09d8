"""Pauses that double with each failure, up to a longest one."""

from __future__ import annotations

from datetime import timedelta

# Beyond it every longest pause is reached, and a time would overflow.
MOST_DOUBLINGS = 20


def doubled(first: timedelta, times: int, longest: timedelta) -> timedelta:
    """Return the first pause after it was doubled so often, at most the longest."""
    factor: int = 2 ** max(0, min(times, MOST_DOUBLINGS))
    return min(first * factor, longest)
