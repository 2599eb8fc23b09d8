"""Filters of the jobs list whose value somebody types: a customer, a worker, words of an error, and times.

Customers and times of creation have an index. For the others the list reads as far as for ``UnindexedFilter``.
"""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.db.models.functions import Coalesce

from jobs.admin.dead_letters.filters import GroupFilter
from jobs.admin.job_search import ERROR_READ, first_of_customer, having_error
from jobs.admin.jobs.filters import UnindexedFilter
from jobs.admin.typed_filters import SinceFilter, TypedFilter, UntilFilter
from jobs.models import DeadLetter, Job, Status
from jobs.models.job import JobQuerySet

# The newest letters of a failure group, of which the jobs are listed.
LETTERS_READ = 1_000


class CustomerFilter(TypedFilter):
    title = "customer"
    parameter_name = "customer"
    wants = "the id of a customer"

    def apply(self, rows: JobQuerySet, value: str) -> JobQuerySet:
        # A column of numbers rejects other ids.
        known = first_of_customer(Job.objects.only("pk").order_by(), value, 1)
        return rows.filter(customer_id=value) if known else rows.none()


class WorkerFilter(UnindexedFilter, TypedFilter):
    title = "worker"
    parameter_name = "worker"
    wants = "the id of a worker"
    hint = "Of the last run."

    def apply(self, rows: JobQuerySet, value: str) -> JobQuerySet:
        return rows.filter(worker_id=value)


class ErrorFilter(UnindexedFilter, TypedFilter):
    title = "error"
    parameter_name = "error"
    wants = "words of an error, at most 500 characters"
    hint = f"A class, or any part of the first {ERROR_READ:,} characters."

    def apply(self, rows: JobQuerySet, value: str) -> JobQuerySet:
        return having_error(rows, value)


class FailureGroupFilter(GroupFilter):
    """The jobs of the newest dead letters of a group, whose titles only those see who see the groups."""

    quotes = ("jobs_failuregroup",)

    def apply(self, rows: JobQuerySet, value: str) -> JobQuerySet:
        letters = DeadLetter.objects.filter(group=int(value)).order_by("-first_seen_at", "-id")
        newest = letters.values("job_id")[:LETTERS_READ]
        return rows.filter(pk__in=newest)


class CreatedSinceFilter(SinceFilter):
    title = "created from"
    parameter_name = "since"
    column = "created_at"


class CreatedBeforeFilter(UntilFilter):
    """Also continues where the list stopped searching."""

    title = "created before"
    parameter_name = "before"
    begins = "since"
    column = "created_at"


class FinishedSinceFilter(UnindexedFilter, SinceFilter):
    title = "finished from"
    parameter_name = "finished_since"
    column = "finished_at"

    def apply(self, rows: JobQuerySet, value: str) -> QuerySet[Any]:
        return super().apply(_finished(rows), value)


class FinishedBeforeFilter(UnindexedFilter, UntilFilter):
    title = "finished before"
    parameter_name = "finished_before"
    begins = "finished_since"
    column = "finished_at"

    def apply(self, rows: JobQuerySet, value: str) -> QuerySet[Any]:
        return super().apply(_finished(rows), value)


def _finished(rows: JobQuerySet) -> JobQuerySet:
    """Return the jobs that ended, with the time: only that of a success has a column of its own."""
    ended = rows.exclude(status__in=[Status.PENDING, Status.IN_PROGRESS])
    return ended.alias(finished_at=Coalesce("completed_at", "updated_at"))
