"""Since when a job waits for a worker: since its last change, or since the time that it was scheduled for, if that is later.

The index of a queue's waiting jobs holds it, and there those that may start stand before all that are scheduled. PostgreSQL
does not know how few they are, so that each question asks for them in the order of the index.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Protocol

from django.db.models import QuerySet
from django.db.models.functions import Now

from jobs.models import Job
from jobs.models.job import JobQuerySet
from jobs.models.waiting_since import SINCE
from opsconsole.kit.counting import COUNTED_TO

IN_ORDER = ("queue", "since", "pk")


class Waiting(Protocol):
    """What is read of a waiting job."""

    @property
    def updated_at(self) -> datetime: ...
    @property
    def not_before(self) -> datetime | None: ...


def since(job: Waiting) -> datetime:
    """Return since when a waiting job that may start waits."""
    return max(job.updated_at, job.not_before or job.updated_at)


def firsts(queue: str) -> QuerySet[Job, tuple[datetime]]:
    """Return since when jobs of a queue that may start wait: the first one, and one changed in the future, if there are any."""
    jobs = Job.objects.filter(queue=queue)
    first = jobs.waiting_for(timedelta(0)).order_by(*IN_ORDER).values_list(SINCE)
    return first[:1].union(_ahead(jobs).values_list(SINCE)[:1], all=True)


def by_index(
    jobs: JobQuerySet, least: timedelta | None = None, most: timedelta | None = None
) -> QuerySet[Job, Any]:
    """Return which of these jobs may start, to be counted: as ``startable()``, but without reading those that are scheduled.

    Only those that have waited for at least ``least`` and for less than ``most``.
    """
    waiting = jobs.waiting_for(least or timedelta(0)).alias(since=SINCE)
    if most is not None:
        waiting = waiting.filter(since__gt=Now() - most)
    ahead = jobs.none() if least else _ahead(jobs)
    counted = waiting.order_by(*IN_ORDER).values("pk")[: COUNTED_TO + 1]
    return counted.union(ahead.values("pk")[: COUNTED_TO + 1], all=True)


def _ahead(jobs: JobQuerySet) -> JobQuerySet:
    """Return the jobs that may start although their row changed in the future, by a wrong clock."""
    return jobs.startable().filter(updated_at__gt=Now()).order_by("updated_at", "pk")
