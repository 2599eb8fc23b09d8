"""The position of a customer's jobs in the queue, reduced to what anybody who knows the customer's id may see."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

from django.contrib.postgres.expressions import ArraySubquery
from django.db import DataError, transaction
from django.db.models import BooleanField, Case, ExpressionWrapper, OuterRef, Q, When
from django.db.models.functions import Greatest, Now
from django_stubs_ext import WithAnnotations

from jobs.intake import waits
from jobs.models import Job, MessageTrouble, Status
from jobs.models.annotations import MessageColumns
from jobs.models.job import JobQuerySet
from opsconsole.kit.storable import is_storable

# How many of a customer's newest jobs are shown, how far a position is counted, and how many rows are read for it: no index
# tells waiting jobs from those that are scheduled for later.
MOST_JOBS = 20
COUNTED_TO = 1_000
READ_TO = 2_000

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
    """The flags are None when the job is not waiting, or waits for its time."""

    unchanged_ahead: list[bool] | None
    due_ahead: list[bool] | None


JobInLine: TypeAlias = "WithAnnotations[Job, AheadColumns]"


def _with_those_ahead(jobs: JobQuerySet) -> JobQuerySet[JobInLine]:
    """Read, of jobs of the same queue that come before one that may start, whether they count: unchanged ones, and due ones.

    A job waits since the later of two times (``jobs.intake.waits``), each of which has an index.
    """
    line = Job.objects.waiting().filter(queue=OuterRef("queue"))
    unchanged = line.filter(_earlier("updated_at")).order_by("updated_at", "pk")
    due = line.filter(_earlier("not_before"), not_before__lte=Now()).order_by("not_before", "pk")
    may_start = Q(status=Status.PENDING) & (Q(not_before=None) | Q(not_before__lte=Now()))
    return jobs.with_message().annotate(
        since=Greatest("updated_at", "not_before"),
        unchanged_ahead=Case(When(may_start, then=_flags(unchanged, waits.WAS_NOT_SCHEDULED))),
        due_ahead=Case(When(may_start, then=_flags(due, waits.WAS_SCHEDULED))),
    )


def _earlier(name: str) -> Q:
    # Written so that the comparison that always holds bounds the index scan.
    before = Q((f"{name}__lt", OuterRef("since"))) | Q(pk__lt=OuterRef("pk"))
    return before & Q((f"{name}__lte", OuterRef("since")))


def _flags(rows: JobQuerySet, counted: Q) -> ArraySubquery:
    flagged = rows.annotate(counted=ExpressionWrapper(counted, output_field=BooleanField()))
    return ArraySubquery(flagged.values("counted")[:READ_TO])


def _place(job: JobInLine) -> Place:
    position = position_over = None
    in_line = not (job.message_trouble and MessageTrouble(job.message_trouble).pressing)
    if in_line and job.unchanged_ahead is not None and job.due_ahead is not None:
        ahead = min(sum(job.unchanged_ahead) + sum(job.due_ahead), COUNTED_TO)
        if ahead == COUNTED_TO or READ_TO in {len(job.unchanged_ahead), len(job.due_ahead)}:
            position_over = ahead
        else:
            position = ahead + 1
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
