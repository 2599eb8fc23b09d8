"""Lateness of recurring work: one rule for monitors, sweeps, checks and readings."""

from __future__ import annotations

from datetime import timedelta
from typing import TypeVar

from django.db.models import Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Greatest

# One success may be missed, or come late; two in a row are a fault.
INTERVALS = 2
# A check may take this long, and a supervised process that was killed is back by then.
AT_LEAST = timedelta(minutes=1)

Interval = TypeVar("Interval", timedelta, Combinable)


def late_after(interval: Interval) -> Interval:
    """Return how long after its last success the work is still on time."""
    if isinstance(interval, timedelta):
        return max(interval * INTERVALS, AT_LEAST)
    return Greatest(interval * INTERVALS, Value(AT_LEAST))
