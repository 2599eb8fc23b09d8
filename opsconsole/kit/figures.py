"""Hourly figures for the charts: repeatable counts and highest readings. An hour without a reading has no row (I8)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TypeAlias

from django.db.models import F, QuerySet
from django.db.models.expressions import Combinable
from django.db.models.functions import Greatest, Now, TruncHour
from django.utils import timezone

from opsconsole.kit.models import HourlyFigure
from opsconsole.kit.removals import kept

HOURS = 24

# The name, the hour and the value.
FigureRow: TypeAlias = tuple[str, datetime, float]


def set_counts(counts: Iterable[tuple[str, datetime, float]]) -> None:
    """Store the counts of these hours, replacing earlier ones."""
    HourlyFigure.objects.bulk_create(
        [HourlyFigure(name=name, hour=hour, value=value) for name, hour, value in counts],
        update_conflicts=True,
        unique_fields=["name", "hour"],
        update_fields=["value"],
    )


def raise_to(name: str, value: float) -> None:
    """Store the highest reading of this hour, by the database's clock."""
    this_hour = TruncHour(Now())
    rows = HourlyFigure.objects.filter(name=name, hour=this_hour)
    if rows.update(value=Greatest(F("value"), value)):
        return
    HourlyFigure.objects.bulk_create(
        [HourlyFigure(name=name, hour=this_hour, value=value)], ignore_conflicts=True
    )
    rows.update(value=Greatest(F("value"), value))


def last_day(names: Sequence[str]) -> tuple[list[datetime], dict[str, list[float | None]]]:
    """Return the hours of the last day, oldest first, with the value per name; None where it is unknown."""
    return last_hours(names, HOURS)


def last_hours(names: Sequence[str], count: int) -> tuple[list[datetime], dict[str, list[float | None]]]:
    """Return this many hours, of which the last is the running one, with the value per name."""
    hours = hours_to_now(count)
    return hours, by_hour(stored(names, hours[0]), names, hours)


def hours_to_now(count: int) -> list[datetime]:
    """Return this many hours, of which the last is the running one."""
    now = timezone.now().replace(minute=0, second=0, microsecond=0)
    return [now - timedelta(hours=back) for back in range(count - 1, -1, -1)]


def begin_in_words(hours: Sequence[datetime]) -> str:
    """Return when the first of these hours begins, with the day where the last one is of the next day: '12:00 yesterday'."""
    day = " yesterday" if hours[0].date() < hours[-1].date() else ""
    return f"{hours[0]:%H:%M}{day}"


def stored(names: Sequence[str], since: datetime | Combinable) -> QuerySet[HourlyFigure, FigureRow]:
    """Return the stored figures as rows of name, hour and value."""
    rows = HourlyFigure.objects.filter(name__in=names, hour__gte=since)
    return rows.values_list("name", "hour", "value")


def by_hour(
    rows: Iterable[FigureRow], names: Sequence[str], hours: Sequence[datetime]
) -> dict[str, list[float | None]]:
    """Return the value of each hour per name; None where it is unknown."""
    value_by_hour = {(name, hour): value for name, hour, value in rows}
    return {name: [value_by_hour.get((name, hour)) for hour in hours] for name in names}


def prune() -> int:
    """Delete figures older than the charts ever show; return the number of rows."""
    return HourlyFigure.objects.filter(hour__lt=Now() - kept("FIGURES")).delete()[0]
