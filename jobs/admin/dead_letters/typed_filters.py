"""Filters of the dead letters list whose value somebody types. What they say of a job needs the permission to see jobs."""

from __future__ import annotations

from jobs.admin.job_search import newest_of_customer
from jobs.admin.typed_filters import SinceFilter, TypedFilter, UntilFilter
from jobs.models.dead_letter import DeadLetterQuerySet
from jobs.runs import runs_of_worker

JOBS_READ = 1_000


class LetterCustomerFilter(TypedFilter):
    title = "customer"
    parameter_name = "customer"
    wants = "the id of a customer"
    hint = f"Of their newest {JOBS_READ:,} jobs."
    quotes = ("jobs_job",)

    def apply(self, rows: DeadLetterQuerySet, value: str) -> DeadLetterQuerySet:
        return rows.filter(job_id__in=newest_of_customer(value, JOBS_READ))


class LetterWorkerFilter(TypedFilter):
    title = "worker"
    parameter_name = "worker"
    wants = "the id of a worker"
    hint = f"Of the jobs that it ran, among the newest {runs_of_worker.EVENTS_READ:,} events."
    quotes = ("jobs_job",)

    def apply(self, rows: DeadLetterQuerySet, value: str) -> DeadLetterQuerySet:
        return rows.filter(job_id__in=runs_of_worker.newest_jobs(value, JOBS_READ))


class SeenSinceFilter(SinceFilter):
    title = "first seen from"
    parameter_name = "since"
    column = "first_seen_at"


class SeenBeforeFilter(UntilFilter):
    title = "first seen before"
    parameter_name = "before"
    begins = "since"
    column = "first_seen_at"
