"""Who was limited, where and how often: the records of the last hour and the hours of the last ninety days as one.

A request counts in one of the two tables at any time. Clients are told by a hash, and by name while a record of
theirs is still there. Every question is bounded: by its period, by a limit on its rows, and by time.
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

from opsconsole.kit.errors import OpsConsoleError
from ratelimits.engine.decision import Outcome

TIMEOUT_MS = 5_000
MOST_ROWS = 10
MOST_EXPORTED = 50_000
REFUSED = (Outcome.LIMITED.value, Outcome.DENIED.value)


class TooMuch(OpsConsoleError):
    """The question would take too long; the message says what to do."""


@dataclass(frozen=True)
class Period:
    """``bars`` steps back from now; ``written``: how the beginning of a step is written."""

    label: str
    bars: int
    step: timedelta
    written: str

    def starts(self, last: datetime) -> list[datetime]:
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
class Question:
    """What is asked about: a period, perhaps of one policy, perhaps of one client by its hash."""

    period: Period
    policy: str | None = None
    client: str | None = None


@dataclass(frozen=True)
class Counts:
    """Requests by how they ended. ``shadow`` ones would have been refused, and were let pass."""

    allowed: int = 0
    limited: int = 0
    denied: int = 0
    shadow: int = 0

    @property
    def refused(self) -> int:
        return self.limited + self.denied

    @property
    def asked(self) -> int:
        return self.allowed + self.refused + self.shadow

    @property
    def share(self) -> float:
        """Of the refused among all, in percent."""
        return 100 * self.refused / self.asked if self.asked else 0.0


@dataclass(frozen=True)
class Line:
    """One client, route or policy. ``name`` is a client's hash; ``key`` its key in the records, while known."""

    name: str
    counts: Counts
    key: str | None = None


# Steps are counted from a Monday, so that weeks and days begin where people expect it.
MONDAY = "timestamptz '2001-01-01 00:00:00+00'"
NOW = f"date_bin(%(step)s, statement_timestamp(), {MONDAY})"
SINCE = f"{NOW} - %(back)s"

COUNTED = f"""
WITH salted AS (SELECT coalesce((SELECT salt FROM rate_limit_control), '') AS salt),
counted AS (
    SELECT hour AS at, policy, key_hash, NULL::text AS key, endpoint, method, outcome, hits FROM rate_limit_hours
     WHERE hour >= {SINCE}
    UNION ALL
    SELECT created_at, policy, encode(sha256(convert_to(salt || key, 'UTF8')), 'hex'), key, endpoint, method, outcome, hits
      FROM rate_limit_requests, salted
     WHERE created_at >= {SINCE}
), asked AS (
    SELECT * FROM counted
     WHERE (%(policy)s::text IS NULL OR policy = %(policy)s) AND (%(client)s::text IS NULL OR key_hash = %(client)s)
)
"""  # noqa: S608 - no value stands in it
SUMS = """
       coalesce(sum(hits) FILTER (WHERE outcome NOT IN ('limited', 'denied', 'shadow')), 0),
       coalesce(sum(hits) FILTER (WHERE outcome = 'limited'), 0),
       coalesce(sum(hits) FILTER (WHERE outcome = 'denied'), 0),
       coalesce(sum(hits) FILTER (WHERE outcome = 'shadow'), 0)
"""
WORST_FIRST = "ORDER BY coalesce(sum(hits) FILTER (WHERE outcome <> 'allowed'), 0) DESC, sum(hits) DESC, 2 LIMIT %(most)s"


def _worst(kind: str, name: str, key: str = "NULL") -> str:
    return f"(SELECT '{kind}', {name}, {key}, NULL, {SUMS} FROM asked GROUP BY 2 {WORST_FIRST})"  # noqa: S608 - constants


# One statement: what was asked is gathered once, and looked at from four sides.
ANSWERS = f"""{COUNTED}
SELECT 'now', NULL, NULL, {NOW}, 0, 0, 0, 0
UNION ALL SELECT 'step', NULL, NULL, date_bin(%(step)s, at, {MONDAY}), {SUMS} FROM asked GROUP BY 4
UNION ALL {_worst("client", "key_hash", "max(key)")}
UNION ALL {_worst("route", "method || ' ' || endpoint")}
UNION ALL {_worst("policy", "policy")}
"""  # noqa: S608 - constants
ROWS = f"""{COUNTED}
SELECT date_trunc('hour', at, 'UTC'), policy, key_hash, max(key), method, endpoint, outcome, sum(hits)
  FROM asked GROUP BY 1, 2, 3, 5, 6, 7 ORDER BY 1 DESC, sum(hits) DESC, 2, 3, 5, 6, 7 LIMIT %(most)s
"""  # noqa: S608 - constants


@dataclass(frozen=True)
class Answers:
    """What happened in each step of the period, the oldest first and none left out; and who was refused most.

    At most ``MOST_ROWS`` each of ``clients``, ``routes`` and ``policies``, the worst first.
    """

    steps: Sequence[tuple[datetime, Counts]]
    clients: Sequence[Line]
    routes: Sequence[Line]
    policies: Sequence[Line]

    @property
    def total(self) -> Counts:
        """All steps together."""
        counts = [each for _, each in self.steps]
        return Counts(
            allowed=sum(each.allowed for each in counts),
            limited=sum(each.limited for each in counts),
            denied=sum(each.denied for each in counts),
            shadow=sum(each.shadow for each in counts),
        )


def answers(question: Question) -> Answers:
    """Raises ``TooMuch``."""
    found: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for kind, *row in _ask(ANSWERS, question, most=MOST_ROWS):
        found[kind].append(tuple(row))
    [(_, _, now, *_)] = found["now"]
    steps = {at: _counts(sums) for _, _, at, *sums in found["step"]}
    return Answers(
        [(start, steps.get(start, Counts())) for start in question.period.starts(now)],
        *(_lines(found[kind]) for kind in ("client", "route", "policy")),
    )


def _lines(rows: Sequence[tuple[Any, ...]]) -> list[Line]:
    lines = [Line(name, _counts(sums), key) for name, key, _, *sums in rows]
    return sorted(
        lines, key=lambda line: (line.counts.allowed - line.counts.asked, -line.counts.asked, line.name)
    )


def _counts(sums: Sequence[Any]) -> Counts:
    return Counts(*map(int, sums))


def rows(question: Question) -> list[tuple[Any, ...]]:
    """(hour, policy, hash, key, method, endpoint, outcome, hits), the latest first, at most ``MOST_EXPORTED``."""
    return _ask(ROWS, question, most=MOST_EXPORTED)


def _ask(sql: str, question: Question, *, most: int) -> list[tuple[Any, ...]]:
    values: dict[str, Any] = {
        "step": question.period.step,
        "back": question.period.step * (question.period.bars - 1),
        "policy": question.policy,
        "client": question.client,
        "most": most,
    }
    with _in_time(), connection.cursor() as cursor:
        cursor.execute(sql, values)
        return list(cursor.fetchall())


@contextmanager
def _in_time() -> Iterator[None]:
    """Give up after ``TIMEOUT_MS``. Raises ``TooMuch``."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(TIMEOUT_MS)])
            yield
            cursor.execute("SELECT set_config('statement_timeout', '0', true)")
    except OperationalError as error:
        if not isinstance(error.__cause__, QueryCanceled):
            raise
        raise TooMuch(
            "There is too much to count in this time. Choose a shorter period, or one policy."
        ) from error
