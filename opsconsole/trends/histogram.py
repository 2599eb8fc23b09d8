"""Histograms of durations in fixed logarithmic buckets. Pure.

Each bucket ends ``RATIO`` times higher than the one before it. What is read back is the geometric middle of a bucket, so it
is at most 4.9 % away from any duration in it. Histograms are added bucket by bucket, which changes nothing of that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

RATIO = 1.1
# In seconds: what is shorter counts as this.
LEAST = 0.001
# About 75 years.
LAST_BUCKET = 300
_STEP = math.log(RATIO)

# As JSON has it: the number of durations by the number of their bucket.
Histogram = dict[str, int]


def bucket_of(seconds: float) -> int:
    """Return the bucket of a duration. Durations of a bucket are above those of the bucket before it."""
    if seconds <= LEAST:
        return 0
    return min(math.ceil(math.log(seconds / LEAST) / _STEP), LAST_BUCKET)


def seconds_of(bucket: int) -> float:
    """Return the duration that stands for a bucket."""
    return LEAST if bucket == 0 else LEAST * math.exp((bucket - 0.5) * _STEP)


def observe(histogram: Histogram, bucket: int) -> None:
    """Count one duration, given its bucket."""
    key = str(bucket)
    histogram[key] = histogram.get(key, 0) + 1


def add(histogram: Histogram, other: Mapping[str, int]) -> None:
    """Count what another histogram has counted."""
    for bucket, number in other.items():
        histogram[bucket] = histogram.get(bucket, 0) + number


def quantiles(histogram: Mapping[str, int], shares: Iterable[float]) -> list[float | None]:
    """Return the durations, in seconds, that these shares of all don't exceed (by nearest rank); None where there are none."""
    buckets = sorted((int(bucket), number) for bucket, number in histogram.items() if number > 0)
    total = sum(number for _, number in buckets)
    return [_quantile(buckets, max(math.ceil(share * total), 1)) if total else None for share in shares]


def _quantile(ascending: list[tuple[int, int]], rank: int) -> float:
    seen = 0
    for bucket, number in ascending:
        seen += number
        if seen >= rank:
            return seconds_of(bucket)
    return seconds_of(ascending[-1][0])
