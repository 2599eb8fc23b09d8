"""What the page shows: a series of bars for one value or all runs, and a line per value of a dimension, read from rollups.

It is kept until more was counted. What was not counted is None, which is not zero (I8).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.core.cache.backends.locmem import LocMemCache
from django.db import connection
from django.db.models import F, Sum

from jobs.models import RunRollup
from jobs.models.run_rollup import OTHERS
from opsconsole.kit.removals import kept
from opsconsole.trends import histogram
from opsconsole.trends.ended_runs import Outcome
from opsconsole.trends.histogram import Histogram
from opsconsole.trends.periods import Period

SHARES = (0.5, 0.95, 0.99)
MOST_LINES = 50
KEPT_SECONDS = 60
# In this process, because the page must also open when the shared cache is away.
memory = LocMemCache("trends", {})
_FIELDS = ("start", "value", *map(str, Outcome), "waits", "runs", "first_event", "last_event")


# A turn of counting may take as long as it is given, and one may be missed.
BEHIND_AFTER = timedelta(minutes=5)


@dataclass(frozen=True)
class Progress:
    """What the rollups have counted. ``since`` and ``until`` None: nothing yet. ``now`` is by the database's clock."""

    now: datetime
    since: datetime | None
    until: datetime | None

    @property
    def is_behind(self) -> bool:
        """Tell whether the cluster has not counted for long, or still counts older runs."""
        return self.until is not None and self.now - self.until > BEHIND_AFTER

    @property
    def is_current(self) -> bool:
        return self.until is not None and not self.is_behind

    def knows(self, start: datetime, step: timedelta) -> bool:
        """Tell whether a bar is counted: whole, or as far as it goes. What began before the first event is not."""
        if self.since is None or self.until is None:
            return False
        return start + step > self.since and start < self.until and start > self.now - kept("FIGURES")

    def is_whole(self, start: datetime, step: timedelta) -> bool:
        return (
            self.knows(start, step)
            and self.since is not None
            and start >= self.since
            and self.until is not None
            and start + step <= self.until
        )


@dataclass
class Figures:
    """The figures of the runs that ended within a time."""

    outcomes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(map(str, Outcome), 0))
    waits: Histogram = field(default_factory=dict)
    runs: Histogram = field(default_factory=dict)
    first_event: int = 0
    last_event: int = 0

    @property
    def ended(self) -> int:
        return sum(self.outcomes.values())

    @property
    def error_rate(self) -> float | None:
        """Return the share of runs that did not complete, in percent; None where none ended."""
        ended = self.ended
        return 100 * (ended - self.outcomes[Outcome.COMPLETED]) / ended if ended else None

    @property
    def waited(self) -> list[float | None]:
        return histogram.quantiles(self.waits, SHARES)

    @property
    def ran(self) -> list[float | None]:
        return histogram.quantiles(self.runs, SHARES)

    def add(self, row: dict[str, Any]) -> None:
        for outcome in self.outcomes:
            self.outcomes[outcome] += row[outcome]
        histogram.add(self.waits, row["waits"])
        histogram.add(self.runs, row["runs"])
        self.first_event = min(self.first_event or row["first_event"], row["first_event"])
        self.last_event = max(self.last_event, row["last_event"])


@dataclass(frozen=True)
class Bar:
    """A bar, and the one of the period before; None: not counted. ``whole``: everything in it is counted."""

    start: datetime
    end: datetime
    now: Figures | None
    before: Figures | None
    whole: bool


@dataclass(frozen=True)
class ValueLine:
    """The figures of a value over the whole period and over the one before."""

    value: str
    now: Figures
    before: Figures | None

    @property
    def is_others(self) -> bool:
        return self.value == OTHERS


@dataclass(frozen=True)
class Report:
    """``at_least``: some values were counted together, so that the figures of each may be higher. ``more``: not all are shown."""

    bars: list[Bar]
    lines: list[ValueLine]
    at_least: bool
    more: bool

    @property
    def total(self) -> Figures:
        return _sum(bar.now for bar in self.bars)

    @property
    def total_before(self) -> Figures | None:
        """Return the figures of the period before; None unless all of it is counted."""
        return None if any(bar.before is None for bar in self.bars) else _sum(bar.before for bar in self.bars)

    @property
    def gaps(self) -> int:
        return sum(bar.now is None for bar in self.bars)


def _sum(parts: Iterable[Figures | None]) -> Figures:
    whole = Figures()
    for part in parts:
        if part is not None and part.ended:
            histogram.add(whole.waits, part.waits)
            histogram.add(whole.runs, part.runs)
            for outcome, number in part.outcomes.items():
                whole.outcomes[outcome] += number
    return whole


def progress() -> Progress:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT statement_timestamp(), counted_from, counted_until"
            "  FROM (SELECT 1) AS one LEFT JOIN run_rollup_state ON true"
        )
        return Progress(*cursor.fetchone())


def read(counted: Progress, period: Period, dimension: str, value: str | None) -> Report:
    """Return the report of a period: the bars of all runs or of one value, and a line per value of the dimension."""
    asked = repr((period.minutes, dimension, value, counted.since, counted.until))
    key = hashlib.blake2b(asked.encode(), digest_size=16).hexdigest()
    kept_report: tuple[datetime, Report] | None = memory.get(key)
    last = period.starts(counted.now)[-1]
    if kept_report is not None and kept_report[0] == last:
        return kept_report[1]
    report = _read(counted, period, dimension, value)
    memory.set(key, (last, report), KEPT_SECONDS)
    return report


def _read(counted: Progress, period: Period, dimension: str, value: str | None) -> Report:
    starts = period.starts(counted.now)
    lines, more = _lines(counted, period, starts, dimension)
    others = _rows(period, starts, dimension).filter(value=OTHERS)
    return Report(_bars(counted, period, starts, dimension, value), lines, others.exists(), more)


def _rows(period: Period, starts: Sequence[datetime], dimension: str) -> Any:
    first, last = period.before(starts[0]), starts[-1]
    return RunRollup.objects.filter(
        minutes=period.minutes, dimension=dimension, start__gte=first, start__lte=last
    )


def _bars(
    counted: Progress, period: Period, starts: Sequence[datetime], dimension: str, value: str | None
) -> list[Bar]:
    of_all = value is None
    rows = _rows(period, starts, RunRollup.Dimension.ALL if of_all else dimension)
    by_start: dict[datetime, Figures] = {}
    for row in rows.filter(value="" if of_all else value).values(*_FIELDS):
        by_start.setdefault(row["start"], Figures()).add(row)

    def at(start: datetime) -> Figures | None:
        return by_start.get(start) or (Figures() if counted.knows(start, period.step) else None)

    return [
        Bar(
            start,
            start + period.step,
            at(start),
            at(period.before(start)),
            counted.is_whole(start, period.step),
        )
        for start in starts
    ]


def _lines(
    counted: Progress, period: Period, starts: Sequence[datetime], dimension: str
) -> tuple[list[ValueLine], bool]:
    rows = _rows(period, starts, dimension)
    number = Sum(F("completed") + F("failed") + F("retried") + F("lost"))
    largest = (
        rows.filter(start__gte=starts[0])
        .order_by()
        .values("value")
        .annotate(number=number)
        .order_by("-number", "value")
        .values_list("value", flat=True)
    )
    values = list(largest[: MOST_LINES + 1])
    more = len(values) > MOST_LINES
    shown = {value: (Figures(), Figures()) for value in values[:MOST_LINES]}
    for row in rows.filter(value__in=shown).values(*_FIELDS).iterator():
        shown[row["value"]][row["start"] < starts[0]].add(row)
    known_before = all(counted.knows(period.before(start), period.step) for start in starts)
    lines = [
        ValueLine(value, now, before if known_before else None) for value, (now, before) in shown.items()
    ]
    return sorted(lines, key=lambda line: line.is_others), more
