"""Hourly counts for the charts: finished jobs by outcome, from the timeline, jobs that arrived, and how many wait and run.

The rollups of runs (``opsconsole.trends``) can't replace them: a run is in a rollup once its events are sealed, which the hour
that goes on does not wait for, and no rollup knows how many jobs arrived, wait or run. Both count the same events of the
timeline, and a test holds the hours that are over to each other (``tests/opsconsole/trends/test_one_answer.py``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from typing import TypeAlias

from django.db.models import Count, Exists, Q, QuerySet, TextField, Value
from django.db.models.functions import Now, TruncHour

from jobs.intake import waits
from jobs.models import Job, JobEvent
from opsconsole.kit import counting, figures
from opsconsole.kit.durations import HOUR
from opsconsole.kit.models import HourlyFigure

Kind = JobEvent.Kind
# The name in the charts of each kind of event.
FIGURES = {
    Kind.COMPLETED: "jobs completed",
    Kind.FAILED: "jobs failed",
    Kind.QUARANTINED: "jobs quarantined",
    Kind.CANCELLED: "jobs cancelled",
    Kind.RECOVERED: "runs recovered",
}
ARRIVED, WAITING, RUNNING = "jobs arrived", "jobs waiting", "runs running"
# The previous hour is counted again, because an event's time is the beginning of its transaction.
LOOKED_BACK = HOUR
# Reading an event takes about a microsecond. Where an hour has more of a kind, pages show what was stored within the last minute.
FEW = 20_000
# A kind or a name, the hour, and how many.
HourRow: TypeAlias = tuple[str, datetime, int]


def count() -> int:
    """Count this hour and the previous one again; return how many figures were stored."""
    counted = list(_named(ended(), arrived()))
    figures.set_counts(counted)
    # The highest readings of the hour.
    figures.raise_to(WAITING, counting.count(waits.by_index(Job.objects.all())))
    figures.raise_to(RUNNING, counting.count(Job.objects.running()))
    return len(counted)


def unfinished_of(
    ended_rows: Iterable[HourRow], arrived_rows: Iterable[HourRow]
) -> dict[tuple[str, datetime], float]:
    """Return the counts of this hour and the previous one by name and hour, given the rows of ``ended()`` and ``arrived()``."""
    return {(name, hour): number for name, hour, number in _named(ended_rows, arrived_rows)}


def ended(*, if_few: bool = False) -> QuerySet[JobEvent, HourRow]:
    """Return the events of this hour and the previous one as rows of kind, hour and number.

    ``if_few``: none, and none are read, where the stored counts say that they are many.
    """
    # Programs of others may write a time that never comes, of which no hour can be told.
    events = JobEvent.objects.filter(
        at__gte=_first_hour(), at__lt=TruncHour(Now() + HOUR), kind__in=list(FIGURES)
    )
    if if_few:
        events = events.filter(_few(FIGURES.values()))
    return events.order_by().annotate(hour=TruncHour("at")).values_list("kind", "hour").annotate(Count("pk"))


def arrived(*, if_few: bool = False) -> QuerySet[Job, HourRow]:
    """Return the jobs that arrived in this hour and the previous one as rows of a name, hour and number.

    ``if_few``: none, and none are read, where the stored counts say that they are many.
    """
    jobs = Job.objects.filter(created_at__gte=_first_hour(), created_at__lte=Now()).order_by()
    if if_few:
        jobs = jobs.filter(_few([ARRIVED]))
    hours = jobs.annotate(hour=TruncHour("created_at"), name=Value(ARRIVED, TextField()))
    return hours.values_list("name", "hour").annotate(Count("pk"))


def _first_hour() -> TruncHour:
    """Return the beginning of the previous hour, by the database's clock."""
    return TruncHour(Now() - LOOKED_BACK)


def _few(names: Collection[str]) -> Q:
    """Return the condition that no stored count of these two hours is large. PostgreSQL judges it once, before it reads."""
    many = HourlyFigure.objects.filter(name__in=names, hour__gte=_first_hour(), value__gt=FEW)
    return ~Q(Exists(many))


def _named(
    ended_rows: Iterable[HourRow], arrived_rows: Iterable[HourRow]
) -> Iterator[tuple[str, datetime, float]]:
    for kind, hour, number in ended_rows:
        yield FIGURES[Kind(kind)], hour, number
    yield from arrived_rows
