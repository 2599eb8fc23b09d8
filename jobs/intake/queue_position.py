"""The position of a customer's jobs in the queue, reduced to what anybody who knows the customer's id may see."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias
from uuid import UUID

from django.contrib.postgres.expressions import ArraySubquery
from django.db import DataError, transaction
from django.db.models import Case, OuterRef, Q, Value, When
from django.db.models.functions import Now
from django_stubs_ext import WithAnnotations

from jobs.intake import waits
from jobs.models import Job, MessageTrouble, Status
from jobs.models.annotations import MessageColumns
from jobs.models.job import JobQuerySet
from jobs.models.waiting_since import SINCE
from opsconsole.kit.storable import is_storable

# How many of a customer's newest jobs are shown, and how far a position is counted.
MOST_JOBS = 20
COUNTED_TO = 1_000

# The statuses that outsiders may see. Others are not ours to publish.
TOLD: dict[str, str] = {
    Status.PENDING: "pending",
    Status.IN_PROGRESS: "in_progress",
    Status.COMPLETED: "completed",
    Status.FAILED: "failed",
    Status.CANCELLED: "cancelled",
    Status.QUARANTINED: "on_hold",
}
OTHER = "other"


@dataclass(frozen=True, kw_only=True)
class Place:
    """One job as its customer may see it.

    ``position`` is 1 for the job of its queue that has waited longest among those that a worker may take now. It is None when
    the job is not waiting, or waits for its time (``not_before``), when its message will not arrive before an operator acts, and
    when too many are ahead to count them; ``position_over`` is set in the last case. SQS keeps no order: this is the order in
    which the jobs began to wait.
    """

    id: UUID
    status: str
    position: int | None
    position_over: int | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    not_before: datetime | None


def of_customer(customer_id: str) -> list[Place]:
    """Return the customer's newest jobs, at most ``MOST_JOBS``; none for an id that can't exist."""
    if not is_storable(customer_id):
        return []
    jobs = _with_those_ahead(Job.objects.filter(customer_id=customer_id))
    try:
        # A savepoint: a customer_id column of type uuid or integer rejects other values.
        with transaction.atomic():
            return [_place(job) for job in jobs.defer("payload", "error_message")[:MOST_JOBS]]
    except DataError:
        return []


class AheadColumns(MessageColumns):
    """``ahead`` has an element per job; None when the job is not waiting, or waits for its time."""

    ahead: list[int] | None


JobInLine: TypeAlias = "WithAnnotations[Job, AheadColumns]"


def _with_those_ahead(jobs: JobQuerySet) -> JobQuerySet[JobInLine]:
    """Read which jobs of the same queue have waited longer than one that may start, up to ``COUNTED_TO``."""
    before = Q(since__lt=OuterRef("since")) | Q(pk__lt=OuterRef("pk"))
    # Those that may start; the second is written so that the comparison that always holds bounds the index scan.
    line = Job.objects.filter(queue=OuterRef("queue")).waiting_for(timedelta(0)).alias(since=SINCE)
    ahead = line.filter(before, since__lte=OuterRef("since")).order_by(*waits.IN_ORDER)
    may_start = Q(status=Status.PENDING) & (Q(not_before=None) | Q(not_before__lte=Now()))
    counted = ArraySubquery(ahead.values_list(Value(1))[:COUNTED_TO])
    return jobs.with_message().annotate(since=SINCE, ahead=Case(When(may_start, then=counted)))


def _place(job: JobInLine) -> Place:
    position = position_over = None
    in_line = not (job.message_trouble and MessageTrouble(job.message_trouble).pressing)
    if in_line and job.ahead is not None:
        if len(job.ahead) == COUNTED_TO:
            position_over = COUNTED_TO
        else:
            position = len(job.ahead) + 1
    return Place(
        id=job.pk,
        status=TOLD.get(job.status, OTHER),
        position=position,
        position_over=position_over,
        created_at=job.created_at,
        started_at=job.started_at,
        completed_at=job.completed_at,
        not_before=job.not_before if job.is_scheduled(job.read_at) else None,
    )
