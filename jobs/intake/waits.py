"""Since when a job waits for a worker: since its last change, or since the time that it was scheduled for, if that is later.

The index of a queue's waiting jobs has the first, that of its later jobs the second, so each question is asked of both kinds.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Protocol

from django.db.models import F, Q, QuerySet
from django.db.models.functions import Greatest, Now

from jobs.models import Job

WAS_SCHEDULED = Q(not_before__gt=F("updated_at"))
WAS_NOT_SCHEDULED = Q(not_before=None) | Q(not_before__lte=F("updated_at"))


# The same as ``since`` says of one job that may start.
SINCE = Greatest("updated_at", "not_before")


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
    """Return since when the jobs of a queue that may start wait, for the first one of each kind: at most two rows."""
    startable = Job.objects.startable().filter(queue=queue)
    unchanged = startable.filter(WAS_NOT_SCHEDULED).order_by("updated_at", "pk").values_list("updated_at")
    # Said once more for the index, whose order begins with the past and ends with the far future.
    due = (
        startable.filter(WAS_SCHEDULED, not_before__lte=Now())
        .order_by("not_before", "pk")
        .values_list("not_before")
    )
    return unchanged[:1].union(due[:1], all=True)


def first(queue: str) -> datetime | None:
    """Return since when the job of this queue waits that has waited longest; None where none waits."""
    return min((waits for (waits,) in firsts(queue)), default=None)


def longer_than(least: timedelta | None, most: timedelta | None) -> Q:
    """Return the condition that a job that may start has waited for at least ``least`` and for less than ``most``."""
    unchanged, due = WAS_NOT_SCHEDULED, WAS_SCHEDULED
    if most is not None:
        unchanged, due = unchanged & Q(updated_at__gt=Now() - most), due & Q(not_before__gt=Now() - most)
    if least is not None:
        unchanged, due = (
            unchanged & Q(updated_at__lte=Now() - least),
            due & Q(not_before__lte=Now() - least),
        )
    return unchanged | due & Q(not_before__lte=Now())
