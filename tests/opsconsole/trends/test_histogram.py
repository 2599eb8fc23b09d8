"""The error of the histograms, whatever the durations are."""

from __future__ import annotations

import math
import random

import pytest

from opsconsole.trends import histogram
from opsconsole.trends.histogram import Histogram

SHARES = (0.5, 0.95, 0.99)
MOST_ERROR = 0.05


@pytest.mark.parametrize("seconds", [0.001, 0.00101, 0.5, 1, 1.1, 59.9, 3_600, 86_400, 30 * 86_400])
def test_bucket_is_close_to_each_duration(seconds: float) -> None:
    read = histogram.seconds_of(histogram.bucket_of(seconds))

    assert abs(read - seconds) / seconds <= MOST_ERROR


def test_edges_of_each_bucket_are_close_and_ascending() -> None:
    edges = [histogram.LEAST * histogram.RATIO**power for power in range(1, histogram.LAST_BUCKET)]

    for edge in edges:
        for seconds in (edge * 0.999999, edge * 1.000001):
            read = histogram.seconds_of(histogram.bucket_of(seconds))
            assert abs(read - seconds) / seconds <= MOST_ERROR
    buckets = [histogram.bucket_of(edge * 1.000001) for edge in edges]
    assert buckets == sorted(set(buckets))


def test_what_is_too_short_too_long_or_negative_has_a_bucket() -> None:
    assert [histogram.bucket_of(seconds) for seconds in (-5, 0, 1e-9)] == [0, 0, 0]
    assert histogram.bucket_of(1e30) == histogram.LAST_BUCKET


@pytest.mark.parametrize("spread", [0.1, 1, 3])
def test_quantiles_are_within_the_error_also_of_added_histograms(spread: float) -> None:
    chance = random.Random(7)
    durations = [chance.lognormvariate(2, spread) for _ in range(2_001)]
    parts: list[Histogram] = [{}, {}, {}]
    for place, seconds in enumerate(durations):
        histogram.observe(parts[place % 3], histogram.bucket_of(seconds))
    whole: Histogram = {}
    for part in parts:
        histogram.add(whole, part)

    exact = [sorted(durations)[math.ceil(share * len(durations)) - 1] for share in SHARES]
    for read, wanted in zip(histogram.quantiles(whole, SHARES), exact, strict=True):
        assert read is not None
        assert abs(read - wanted) / wanted <= MOST_ERROR


def test_nothing_counted_is_unknown() -> None:
    assert histogram.quantiles({}, SHARES) == [None, None, None]


def test_one_duration_is_every_quantile() -> None:
    one: Histogram = {}
    histogram.observe(one, histogram.bucket_of(60))

    assert len(set(histogram.quantiles(one, SHARES))) == 1
