"""The two charts of requests: each bar opens the requests that it counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from opsconsole.kit import charts
from opsconsole.kit.charts import Series
from ratelimits.records import counted_requests
from ratelimits.records.usage_report import Period, RequestCounts


def charts_of(
    period: Period, steps: Sequence[tuple[datetime, RequestCounts]], about: Mapping[str, str]
) -> list[charts.Chart]:
    """Draw the steps of a period; ``about``: the filters by which they were counted."""

    def series(label: str, tone: str, counted: str, value: Callable[[RequestCounts], int]) -> Series:
        urls = [counted_requests.list_url(start, period.step, counted, **about) for start, _ in steps]
        return Series(label, tone, [value(each) for _, each in steps], urls)

    in_shadow = any(each.shadow for _, each in steps)
    labels = [start.strftime(period.time_format) for start, _ in steps]
    refused = [series("limited", "bad", "limited", lambda each: each.limited)]
    if any(each.denied for _, each in steps):
        refused.append(series("from denied networks", "quiet", "denied", lambda each: each.denied))
    if in_shadow:
        refused.append(series("above the limit (shadow mode)", "warning", "shadow", lambda each: each.shadow))
    all_requests = [
        series(
            "allowed, shadow mode included" if in_shadow else "allowed",
            "running",
            "admitted",
            lambda each: each.allowed + each.shadow,
        ),
        series("refused", "bad", "refused", lambda each: each.refused),
    ]
    # Its sum, which is told in words, then has more than what was refused.
    named = "Requests refused or above a limit" if in_shadow else "Refused requests"
    return [
        charts.stacked(f"{named} in {period.label}, UTC", labels, refused),
        charts.stacked("Refused and allowed requests", labels, all_requests),
    ]
