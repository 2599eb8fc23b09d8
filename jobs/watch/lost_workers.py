"""Jobs that lost their worker within 24 hours, for the overview, the lists that it opens, and the alert.

They count whether a sweep or a person took the run away, and while they are stale now. The overview, its list and the
alert in ``jobs.watch.run_gauges`` count the same: each job once, however many of its runs were lost.
"""

from __future__ import annotations

from typing import Any

from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from jobs.models import Job, JobEvent
from jobs.models.event import LOST_WORKER, RARE_KINDS
from jobs.models.job import JobQuerySet
from jobs.runs.timeline import SWEEP
from opsconsole.kit.durations import DAY

Kind = JobEvent.Kind
BY_SWEEPS = (Kind.RECOVERED, Kind.QUARANTINED)
BY_HAND = (Kind.REQUEUED, Kind.RELEASED, Kind.CANCELLED)


def events() -> QuerySet[JobEvent]:
    """Return the events of the last 24 hours by which a run was taken from a worker that had died: one per run."""
    by_sweeps = Q(kind__in=BY_SWEEPS, actor=SWEEP.name)
    by_hand = Q((f"details__{LOST_WORKER}", True), kind__in=BY_HAND)
    # The condition of the index, which PostgreSQL does not derive from the two others.
    rare = JobEvent.objects.filter(kind__in=RARE_KINDS, at__gte=Now() - DAY)
    return rare.filter(by_sweeps | by_hand).order_by()


def taken_within_a_day() -> JobQuerySet:
    """Return the jobs of which a run was taken from a dead worker within 24 hours."""
    return Job.objects.filter(pk__in=events().values("job_id"))


def within_a_day() -> JobQuerySet:
    """Return the jobs of which a run lost its worker within 24 hours, or is stale now."""
    return Job.objects.filter(pk__in=ids_within_a_day())


def ids_within_a_day() -> QuerySet[Any, Any]:
    """Return their ids."""
    return events().values_list("job_id").union(Job.objects.stale().order_by().values_list("pk"))


def recovered_within_a_day() -> JobQuerySet:
    """Return the jobs of which a sweep started a run again within 24 hours."""
    return Job.objects.filter(pk__in=ids_recovered_within_a_day())


def ids_recovered_within_a_day() -> QuerySet[Any, Any]:
    """Return their ids."""
    return events().filter(kind=Kind.RECOVERED).values_list("job_id")
