"""When something that must succeed again and again is late: one rule for monitors, sweeps, checks and readings."""

from __future__ import annotations

from datetime import timedelta
from typing import TypeVar

from django.db.models.expressions import Combinable

# One success may be missed, or come late; two in a row are a fault.
INTERVALS = 2

Interval = TypeVar("Interval", timedelta, Combinable)


def late_after(interval: Interval) -> Interval:
    """For how long after its last success it is in time."""
    return interval * INTERVALS
