"""The requests that a bar of the limiter's charts counts, by policy, client and route: the same rows as the report reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.utils import timezone

from opsconsole.kit import addresses
from opsconsole.kit.durations import HOUR, MINUTE
from opsconsole.kit.postgresql.timestamps import begin_of
from ratelimits.records import usage_report

PAGE = "admin:ratelimits_ratelimithour_requests"
SHOWN = 200
# Which outcomes each series of the charts counts. Programs of others may write outcomes that mean "allowed".
COUNTED: Mapping[str, tuple[str, ...]] = {
    "limited": ("limited",),
    "denied": ("denied",),
    "shadow": ("shadow",),
    "refused": ("limited", "denied"),
    "admitted": ("allowed", "shadow"),
}
STEPS = {period.step // MINUTE: period.step for period in usage_report.PERIODS.values()}
OUTCOME = "CASE WHEN outcome IN ('limited', 'denied', 'shadow') THEN outcome ELSE 'allowed' END"
LISTED = f"""{usage_report.matching("%(since)s", "%(until)s")}
SELECT policy, key_hash, max(key), method, endpoint, {OUTCOME}, sum(hits), sum(sum(hits)) OVER (), count(*) OVER ()
  FROM matching WHERE {OUTCOME} = ANY(%(outcomes)s)
 GROUP BY 1, 2, 4, 5, 6 ORDER BY sum(hits) DESC, 1, 2, 4, 5, 6 LIMIT %(max_rows)s
"""  # noqa: S608 - it contains no values


@dataclass(frozen=True)
class RequestLine:
    policy: str
    digest: str
    key: str | None
    method: str
    endpoint: str
    outcome: str
    hits: int


@dataclass(frozen=True)
class CountedRequests:
    """``total``: how many requests all lines count, also those that are not shown. ``lines``: most requests first."""

    total: int
    shown: Sequence[RequestLine]
    lines: int


@dataclass(frozen=True, kw_only=True)
class Step:
    """A bar: its time, the series, and the filters of its chart. ``client`` is a client's hash."""

    start: datetime
    length: timedelta
    counted: str
    policy: str | None = None
    client: str | None = None

    @property
    def end(self) -> datetime:
        return self.start + self.length


def list_url(start: datetime, length: timedelta, counted: str, **filters: str) -> str:
    """Return the address of the list of the requests that this series counts in the step that begins then."""
    at, minutes = f"{start.astimezone(UTC):%Y-%m-%dT%H:%MZ}", length // MINUTE
    # Only what somebody named needs to be quoted.
    named = urlencode({name: value for name, value in filters.items() if value})
    return f"{addresses.fixed(PAGE)}?at={at}&minutes={minutes}&counted={counted}{named and '&'}{named}"


def kept_step(start: datetime, length: timedelta) -> tuple[datetime, timedelta]:
    """Return the step that can still be told apart: single minutes are kept for an hour, then hours only."""
    if length >= HOUR or start >= timezone.now() - HOUR:
        return start, length
    return begin_of(start, HOUR), HOUR


def read(step: Step) -> CountedRequests:
    """Read the list. Raise ``ReportTimeout`` if it takes too long."""
    values: dict[str, Any] = {
        "since": step.start,
        "until": step.end,
        "policy": step.policy,
        "client": step.client,
        "outcomes": list(COUNTED[step.counted]),
        "max_rows": SHOWN,
    }
    rows = usage_report.rows_of(LISTED, values)
    shown = [
        RequestLine(policy, digest, key, method, endpoint, outcome, int(hits))
        for policy, digest, key, method, endpoint, outcome, hits, _, _ in rows
    ]
    return CountedRequests(int(rows[0][7]) if rows else 0, shown, rows[0][8] if rows else 0)
