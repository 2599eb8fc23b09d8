"""Tests of pauses that double with each failure, up to a maximum."""

from __future__ import annotations

from datetime import timedelta

import pytest

from opsconsole_worker.doubling import doubled

SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("times", "seconds"), [(-1, 1), (0, 1), (1, 2), (2, 4), (6, 64), (7, 100), (20, 100), (10_000, 100)]
)
def test_doubled(times: int, seconds: int) -> None:
    assert doubled(SECOND, times, 100 * SECOND) == seconds * SECOND


def test_first_pause_longer_than_the_longest_is_cut() -> None:
    assert doubled(timedelta(days=365), 10_000, timedelta(hours=1)) == timedelta(hours=1)
