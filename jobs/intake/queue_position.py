"""The position of a customer's jobs in the queue, reduced to what anybody who knows the customer's id may see."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.contrib.postgres.expressions import ArraySubquery
from django.db import DataError, transaction
from django.db.models import Case, Func, IntegerField, OuterRef, Q, When
from django_stubs_ext import WithAnnotations

from jobs.models import Job, MessageTrouble, Status
from jobs.models.annotations import MessageColumns
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

    ``position`` is 1 for the job that has waited longest in its queue. It is None when the job is not waiting, when its
    message will not arrive before an operator acts, and when more than ``COUNTED_TO`` jobs are ahead; ``position_over``
    is set in the last case. SQS keeps no order: this is the order in which the jobs began to wait.
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
    jobs = Job.objects.filter(customer_id=customer_id).with_message().annotate(ahead=_ahead())
    try:
        # A savepoint: a customer_id column of type uuid or integer rejects other values.
        with transaction.atomic():
            return [_place(job) for job in jobs.defer("payload", "error_message")[:MOST_JOBS]]
    except DataError:
        return []


def _ahead() -> Case:
    """Count the jobs of the same queue that have waited longer than a waiting job, up to ``COUNTED_TO``."""
    # Written so that the comparison that always holds bounds the index scan.
    earlier = Q(updated_at__lt=OuterRef("updated_at")) | Q(pk__lt=OuterRef("pk"))
    line = Job.objects.waiting().filter(
        earlier, queue=OuterRef("queue"), updated_at__lte=OuterRef("updated_at")
    )
    before = ArraySubquery(line.order_by("updated_at", "pk").values("pk")[:COUNTED_TO])
    count = Func(before, function="CARDINALITY", output_field=IntegerField())
    return Case(When(status=Status.PENDING, then=count))


class AheadColumns(MessageColumns):
    """``ahead`` is None when the job is not waiting."""

    ahead: int | None


def _place(job: WithAnnotations[Job, AheadColumns]) -> Place:
    waits = job.status == Status.PENDING
    in_line = waits and not (job.message_trouble and MessageTrouble(job.message_trouble).pressing)
    position = job.ahead + 1 if in_line and job.ahead is not None and job.ahead < COUNTED_TO else None
    return Place(
        id=job.pk,
        status=TOLD.get(job.status, OTHER),
        position=position,
        position_over=COUNTED_TO if in_line and position is None else None,
        created_at=job.created_at,
        started_at=job.started_at,
        completed_at=job.completed_at,
        not_before=job.not_before if waits else None,
    )
