"""Since when a job waits for a worker: since its last change, or since the time that it was scheduled for, if that is later.

The index of a queue's waiting jobs holds it, and there those that may start stand before all that are scheduled. PostgreSQL
does not know how few they are, so that each question asks for them in the order of the index.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Protocol

from django.db.models import BooleanField, ExpressionWrapper, Q, QuerySet
from django.db.models.expressions import RawSQL
from django.db.models.functions import Now

from jobs.models import Job
from jobs.models.job import JobQuerySet
from jobs.models.waiting_since import SINCE
from opsconsole.kit.built_once import built_once
from opsconsole.kit.counting import COUNTED_TO
from opsconsole.kit.one_statement import Reading

IN_ORDER = ("queue", "since", "pk")
# Producers choose the names of queues. The longest wait is looked for in this many that hold waiting or scheduled jobs.
MOST_QUEUES = 10_000

# From queue to queue along the index: the first entry of a queue is its job that waits longest, or else that is due first.
_OLDEST = f"""
WITH RECURSIVE first (queue, since, has_begun) AS (
    ({{first}})
     UNION ALL
    SELECT following.* FROM first, LATERAL ({{following}}) AS following
)
SELECT min(since) FROM (
    SELECT since FROM (SELECT * FROM first LIMIT {MOST_QUEUES}) AS firsts WHERE has_begun
     UNION ALL
    ({{ahead}})
) AS waits
"""  # noqa: S608 - a number


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


@built_once
def oldest() -> Reading[datetime | None]:
    """Read since when the job waits that waits longest, in any queue that has one, also one that is not configured."""
    has_begun = ExpressionWrapper(Q(since__lte=Now()), BooleanField())
    first = Job.objects.waiting().alias(since=SINCE).order_by(*IN_ORDER)
    following = first.filter(queue__gt=RawSQL("first.queue", ()))
    parts: dict[str, str] = {}
    params: list[Any] = []
    for name, jobs in (
        ("first", first.values_list("queue", SINCE, has_begun)),
        ("following", following.values_list("queue", SINCE, has_begun)),
        ("ahead", _ahead(Job.objects.all()).values_list(SINCE)),
    ):
        query = jobs[:1].query
        # The name of a queue is compared whole, and ordered by the index.
        query.subquery = True
        parts[name], of_part = query.sql_with_params()
        params += of_part
    return Reading(_OLDEST.format(**parts), tuple(params), lambda since: since)


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
