"""Tests of the charts of limited requests: what their series count in words."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ratelimits.admin.limiter_charts import charts_of
from ratelimits.records.usage_report import PERIODS, RequestCounts

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(("shadow", "label"), [(2, "allowed, shadow mode included"), (0, "allowed")])
def test_series_that_counts_shadow_mode_says_so(shadow: int, label: str) -> None:
    """The headline of the page counts them apart."""
    counts = RequestCounts(allowed=7, limited=1, shadow=shadow)
    refused, all_requests = charts_of(PERIODS["hour"], [(AT, counts)], {})
    assert refused.title.startswith("Requests refused or above a limit" if shadow else "Refused requests")
    assert [(each.label, list(each.values)) for each in all_requests.legend] == [
        (label, [7 + shadow]),
        ("refused", [1]),
    ]
