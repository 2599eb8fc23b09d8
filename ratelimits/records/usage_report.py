"""The report of limited requests: which clients, routes and policies, and how often, over up to ninety days.

It combines the records of the last hour with the hourly rollups; each request is in exactly one of the two tables.
Clients are identified by a hash, and by key as long as one of their records exists. Every query is bounded by its
period, by the number of rows, and by a timeout.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import OperationalError, connection, transaction
from psycopg.errors import QueryCanceled

from opsconsole.kit.bounded_columns import cut_in_statement
from opsconsole.kit.errors import OpsConsoleError
from ratelimits.models.record import TABLE

TIMEOUT_MS = 5_000
MAX_LINES = 10
MAX_EXPORT_ROWS = 50_000


class ReportTimeout(OpsConsoleError):
    """The query took too long; the message says what to do."""


@dataclass(frozen=True)
class Period:
    """A period of ``bars`` steps that ends now. ``time_format``: the format of a step's start."""

    label: str
    bars: int
    step: timedelta
    time_format: str

    def starts(self, last: datetime) -> list[datetime]:
        """Return the start of each step. ``last`` is the start of the current step."""
        return [last - self.step * back for back in range(self.bars - 1, -1, -1)]


PERIODS: Mapping[str, Period] = {
    "hour": Period("the last hour", 60, timedelta(minutes=1), "%H:%M"),
    "day": Period("the last 24 hours", 24, timedelta(hours=1), "%H:%M"),
    "week": Period("the last 7 days", 28, timedelta(hours=6), "%a %H:%M"),
    "month": Period("the last 30 days", 30, timedelta(days=1), "%d %b"),
    "quarter": Period("the last 90 days", 90, timedelta(days=1), "%d %b"),
}
DEFAULT_PERIOD = "day"


@dataclass(frozen=True, kw_only=True)
class ReportQuery:
    """The filters of a report. ``client`` is a client's hash."""

    period: Period
    policy: str | None = None
    client: str | None = None


@dataclass(frozen=True)
class RequestCounts:
    """Numbers of requests by outcome. ``shadow``: requests that shadow mode allowed above the limit."""

    allowed: int = 0
    limited: int = 0
    denied: int = 0
    shadow: int = 0

    @property
    def refused(self) -> int:
        return self.limited + self.denied

    @property
    def requests(self) -> int:
        return self.allowed + self.refused + self.shadow

    @property
    def refused_percent(self) -> float:
        """The refused requests as a percentage of all requests."""
        return 100 * self.refused / self.requests if self.requests else 0.0


@dataclass(frozen=True)
class ReportLine:
    """The counts of one client, route or policy. A client's ``name`` is its hash; its ``key`` is given if known."""

    name: str
    counts: RequestCounts
    key: str | None = None


# Steps are aligned to a Monday, so that weeks and days begin where people expect them to.
MONDAY = "timestamptz '2001-01-01 00:00:00+00'"
NOW = f"date_bin(%(step)s, statement_timestamp(), {MONDAY})"
SINCE = f"{NOW} - %(back)s"

# Programs of others write records too, with endpoints of any length.
NAMES = ", ".join(f"{cut_in_statement(name)} AS {name}" for name in ("endpoint", "method", "outcome"))


def matching(since: str, until: str) -> str:
    """Return the beginning of a statement: the rows of both tables in this time that the filters let through."""
    return f"""
WITH salted AS (SELECT coalesce((SELECT salt FROM rate_limit_control), '') AS salt),
counted AS (
    SELECT hour AS at, {cut_in_statement("policy")} AS policy, key_hash, NULL::text AS key, {NAMES}, hits FROM rate_limit_hours
     WHERE hour >= {since} AND hour < {until}
    UNION ALL
    SELECT created_at, {cut_in_statement("policy")}, encode(sha256(convert_to(salt || key, 'UTF8')), 'hex'),
           {cut_in_statement("key")}, {NAMES}, hits
      FROM {TABLE.aliased_rows}, salted
     WHERE created_at >= {since} AND created_at < {until}
), matching AS (
    SELECT * FROM counted
     WHERE (%(policy)s::text IS NULL OR policy = %(policy)s) AND (%(client)s::text IS NULL OR key_hash = %(client)s)
)
"""  # noqa: S608 - it contains no values


# What is counted a moment ahead by another clock is read, too.
MATCHING = matching(SINCE, "'infinity'")
SUMS = """
       coalesce(sum(hits) FILTER (WHERE outcome NOT IN ('limited', 'denied', 'shadow')), 0),
       coalesce(sum(hits) FILTER (WHERE outcome = 'limited'), 0),
       coalesce(sum(hits) FILTER (WHERE outcome = 'denied'), 0),
       coalesce(sum(hits) FILTER (WHERE outcome = 'shadow'), 0)
"""
MOST_REFUSED_FIRST = "ORDER BY coalesce(sum(hits) FILTER (WHERE outcome <> 'allowed'), 0) DESC, sum(hits) DESC, 2 LIMIT %(max_rows)s"


def _grouped(kind: str, name: str, key: str = "NULL") -> str:
    return f"(SELECT '{kind}', {name}, {key}, NULL, {SUMS} FROM matching GROUP BY 2 {MOST_REFUSED_FIRST})"  # noqa: S608 - constants


# One statement collects the matching rows once and groups them in four ways.
REPORT = f"""{MATCHING}
SELECT 'now', NULL, NULL, {NOW}, 0, 0, 0, 0
UNION ALL SELECT 'step', NULL, NULL, date_bin(%(step)s, at, {MONDAY}), {SUMS} FROM matching GROUP BY 4
UNION ALL {_grouped("client", "key_hash", "max(key)")}
UNION ALL {_grouped("route", "method || ' ' || endpoint")}
UNION ALL {_grouped("policy", "policy")}
"""  # noqa: S608 - constants
EXPORT = f"""{MATCHING}
SELECT date_trunc('hour', at, 'UTC'), policy, key_hash, max(key), method, endpoint, outcome, sum(hits)
  FROM matching GROUP BY 1, 2, 3, 5, 6, 7 ORDER BY 1 DESC, sum(hits) DESC, 2, 3, 5, 6, 7 LIMIT %(max_rows)s
"""  # noqa: S608 - constants


@dataclass(frozen=True)
class UsageReport:
    """The counts of each step of the period, oldest first, and the most refused clients, routes and policies.

    Each of the three lists has at most ``MAX_LINES`` entries, the most refused first.
    """

    steps: Sequence[tuple[datetime, RequestCounts]]
    clients: Sequence[ReportLine]
    routes: Sequence[ReportLine]
    policies: Sequence[ReportLine]

    @property
    def total(self) -> RequestCounts:
        """The sum of all steps."""
        steps = [counts for _, counts in self.steps]
        return RequestCounts(
            allowed=sum(counts.allowed for counts in steps),
            limited=sum(counts.limited for counts in steps),
            denied=sum(counts.denied for counts in steps),
            shadow=sum(counts.shadow for counts in steps),
        )


def report(query: ReportQuery) -> UsageReport:
    """Compute a report. Raise ``ReportTimeout`` if it takes too long."""
    rows_by_kind: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for kind, *row in _run(REPORT, query, max_rows=MAX_LINES):
        rows_by_kind[kind].append(tuple(row))
    [(_, _, now, *_)] = rows_by_kind["now"]
    steps = {at: _counts(sums) for _, _, at, *sums in rows_by_kind["step"]}
    return UsageReport(
        [(start, steps.get(start, RequestCounts())) for start in query.period.starts(now)],
        *(_lines(rows_by_kind[kind]) for kind in ("client", "route", "policy")),
    )


def _lines(rows: Sequence[tuple[Any, ...]]) -> list[ReportLine]:
    lines = [ReportLine(name, _counts(sums), key) for name, key, _, *sums in rows]
    return sorted(
        lines, key=lambda line: (line.counts.allowed - line.counts.requests, -line.counts.requests, line.name)
    )


def _counts(sums: Sequence[Any]) -> RequestCounts:
    return RequestCounts(*map(int, sums))


def export_rows(query: ReportQuery) -> list[tuple[Any, ...]]:
    """Return at most ``MAX_EXPORT_ROWS`` rows, the latest first.

    Each row is (hour, policy, hash, key, method, endpoint, outcome, hits).
    """
    return _run(EXPORT, query, max_rows=MAX_EXPORT_ROWS)


def _run(sql: str, query: ReportQuery, *, max_rows: int) -> list[tuple[Any, ...]]:
    values: dict[str, Any] = {
        "step": query.period.step,
        "back": query.period.step * (query.period.bars - 1),
        "policy": query.policy,
        "client": query.client,
        "max_rows": max_rows,
    }
    return rows_of(sql, values)


def rows_of(sql: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Return the rows of a statement about requests. Raise ``ReportTimeout`` if it takes too long."""
    with _time_limit(), connection.cursor() as cursor:
        cursor.execute(sql, values)
        return list(cursor.fetchall())


@contextmanager
def _time_limit() -> Iterator[None]:
    """Cancel statements after ``TIMEOUT_MS`` and raise ``ReportTimeout``."""
    try:
        within = connection.in_atomic_block
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(TIMEOUT_MS)])
            yield
            # The limit ends with the transaction; one around this goes on without it.
            if within:
                cursor.execute("SELECT set_config('statement_timeout', '0', true)")
    except OperationalError as error:
        if not isinstance(error.__cause__, QueryCanceled):
            raise
        raise ReportTimeout(
            f"The report took longer than {TIMEOUT_MS // 1_000} s and was cancelled. Choose a shorter period or one policy."
        ) from error
