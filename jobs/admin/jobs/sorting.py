"""The orders of the jobs list."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from django.db.models import DurationField, ExpressionWrapper, F, QuerySet
from django.http import HttpRequest

from jobs.admin.jobs.filters import WAITING_OR_SCHEDULED, UnindexedFilter
from jobs.admin.sorting import Order, OrderMenu
from jobs.models import Status
from jobs.models.job import JobQuerySet
from jobs.models.waiting_since import SINCE
from opsconsole.kit.postgresql.timestamps import calculable

WAITED, RUNNING, TOOK, ATTEMPTS, CUSTOMER, QUEUE = (
    "waited",
    "running",
    "took",
    "attempts",
    "customer",
    "queue",
)
TIME_TAKEN = ExpressionWrapper(
    calculable("completed_at") - calculable("started_at"), output_field=DurationField()
)
NEWEST_FIRST = ("-created_at", "-pk")


class JobOrder(OrderMenu, UnindexedFilter):
    """Running jobs are few; other orders are of the newest jobs, or of those that were created first.

    The index of since when jobs wait is by queue, and a million may be scheduled: both are looked through.
    """

    orders = MappingProxyType(
        {
            WAITED: Order("Waiting, longest first", (SINCE, "pk"), "waited", narrows=True, from_oldest=True),
            RUNNING: Order(
                "Running, longest first",
                (F("started_at").asc(nulls_last=True), "pk"),
                "ran",
                indexed=True,
                narrows=True,
            ),
            TOOK: Order(
                "Completed, longest run first",
                (TIME_TAKEN.desc(nulls_last=True), *NEWEST_FIRST),
                "ran",
                narrows=True,
            ),
            ATTEMPTS: Order("Most failed attempts first", ("-attempts", *NEWEST_FIRST), "attempts"),
            CUSTOMER: Order("Customer, A to Z", ("customer_id", *NEWEST_FIRST), "recovery_count"),
            QUEUE: Order("Queue, A to Z", ("queue", *NEWEST_FIRST), "queue"),
        }
    )

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Leave what the order is about: the jobs that wait for a worker, that run, or that have completed."""
        jobs: JobQuerySet = queryset  # type: ignore[assignment]  # the list of jobs
        match self.value():
            case "waited":
                return jobs.waiting()
            case "running":
                return jobs.running()
            case "took":
                return jobs.filter(status=Status.COMPLETED)
        return jobs

    @property
    def reads_many(self) -> bool:
        return self.chosen is not None and not self.chosen.indexed

    @property
    def among(self) -> str:
        return WAITING_OR_SCHEDULED if self.value() == WAITED else ""

    def narrow(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        jobs: JobQuerySet = queryset  # type: ignore[assignment]  # the list of jobs
        return jobs.startable() if self.value() == WAITED else jobs
