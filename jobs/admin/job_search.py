"""The search of the jobs list: by an id, by its beginning, or by a customer."""

from __future__ import annotations

from typing import Any

from django.db import DataError, models, transaction
from django.db.models.functions import Cast, Left

from jobs.models import Job
from jobs.models.job import JobQuerySet
from opsconsole.kit import job_ids
from opsconsole.kit.short_ids import ids_that_begin
from opsconsole.kit.storable import plain_text

# In characters.
ERROR_READ = 1_000


def search(jobs: JobQuerySet, term: str) -> JobQuerySet:
    """Find the job with this id, jobs whose id begins with it (8 hexadecimal digits or more), or jobs of a customer."""
    term = plain_text(term).strip()
    if not term:
        return jobs
    if first_of_customer(Job.objects.only("pk").order_by(), term, 1):
        return jobs.filter(customer_id=term)
    return by_id(jobs, term)


def first_of_customer(jobs: JobQuerySet, customer_id: str, most: int) -> list[Job]:
    """Return a customer's first jobs; none where a customer_id column of type uuid or integer rejects the term."""
    try:
        # A savepoint, so that later queries still work after a rejection.
        with transaction.atomic():
            return list(jobs.filter(customer_id=customer_id)[:most])
    except DataError:
        return []


def newest_of_customer(customer_id: str, most: int) -> list[Any]:
    """Return the ids of a customer's newest jobs, newest first; none where the column rejects such an id."""
    newest = Job.objects.filter(customer_id=customer_id).order_by("-created_at", "-pk")
    try:
        with transaction.atomic():
            return list(newest.values_list("pk", flat=True)[:most])
    except DataError:
        return []


def having_error(jobs: JobQuerySet, words: str) -> JobQuerySet:
    """Return the jobs whose error has these words in its beginning: an error is as long as its worker likes."""
    beginning = Left(Cast("error_message", models.TextField()), ERROR_READ)
    return jobs.alias(error_begins=beginning).filter(
        error_message__isnull=False, error_begins__icontains=words
    )


def by_id(jobs: JobQuerySet, term: str) -> JobQuerySet:
    """Find the job with this id, or those whose id begins with it."""
    if job_ids.TYPE != "uuid":
        job_id = job_ids.parse(term)
        return jobs.none() if job_id is None else jobs.filter(pk=job_id)
    span = ids_that_begin(term)
    return jobs.filter(pk__range=span) if span else jobs.none()
