"""Lateness of recurring work: one rule for monitors, sweeps, checks and readings."""

from __future__ import annotations

from datetime import timedelta
from typing import TypeVar

from django.db.models.expressions import Combinable

# One success may be missed, or come late; two in a row are a fault.
INTERVALS = 2

Interval = TypeVar("Interval", timedelta, Combinable)


def late_after(interval: Interval) -> Interval:
    """Return how long after its last success the work is still on time."""
    return interval * INTERVALS
