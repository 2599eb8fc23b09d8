"""Hourly counts for the charts: finished jobs by outcome, from the timeline, jobs that arrived, and how many wait and run."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db.models import Count
from django.db.models.functions import Now, TruncHour

from jobs.models import Job, JobEvent
from opsconsole.kit import counting, figures

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
LOOKED_BACK = timedelta(hours=1)


def count() -> int:
    """Count this hour and the previous one again; return how many figures were stored."""
    counted = list(_counted())
    figures.set_counts(counted)
    # The highest readings of the hour.
    figures.raise_to(WAITING, counting.count(Job.objects.startable()))
    figures.raise_to(RUNNING, counting.count(Job.objects.running()))
    return len(counted)


def unfinished() -> dict[tuple[str, datetime], float]:
    """Return the counts of this hour and the previous one, by name and hour, as they are now."""
    return {(name, hour): number for name, hour, number in _counted()}


def _counted() -> Iterator[tuple[str, datetime, float]]:
    events = JobEvent.objects.filter(at__gte=TruncHour(Now() - LOOKED_BACK), kind__in=list(FIGURES))
    rows = events.order_by().annotate(hour=TruncHour("at")).values_list("kind", "hour").annotate(Count("pk"))
    for kind, hour, number in rows:
        yield FIGURES[Kind(kind)], hour, number
    arrived = Job.objects.filter(
        created_at__gte=TruncHour(Now() - LOOKED_BACK), created_at__lte=Now()
    ).order_by()
    for hour, number in (
        arrived.annotate(hour=TruncHour("created_at")).values_list("hour").annotate(Count("pk"))
    ):
        yield ARRIVED, hour, number
