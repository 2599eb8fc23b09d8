"""Enqueueing: the job's row, its timeline and its outgoing message in one transaction (I2)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.db.models.expressions import DatabaseDefault, RawSQL
from django.utils.timezone import is_aware

from jobs.messaging import outbox, trace_context
from jobs.messaging.outbox import NewMessage
from jobs.models import Job, JobEvent, Status
from jobs.models.columns import JOBS
from jobs.runs.timeline import CONSOLE, Actor, NewEvent, record_all
from opsconsole.kit import job_ids
from opsconsole.kit.characters import first_visible, has_control
from opsconsole.kit.errors import OpsConsoleError
from opsconsole.kit.postgresql.base import NotGivenBack
from opsconsole.kit.storable import LARGEST_INTEGER, is_storable, json_problem

BATCH = 1_000
_NOT_GIVEN_BACK = (
    f"The database did not give a new job back: a trigger of {JOBS.sql} suppresses it, or puts it elsewhere"
    ". Nothing was changed."
)
# PostgreSQL stores times that Python can't represent: such a row could never be read again.
FIRST_YEAR, LAST_YEAR = 1970, 9998


class InvalidJob(OpsConsoleError):
    """A job can't be accepted as given; the message says which field and what would be accepted."""


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """A job as a producer requests it. ``priority`` None means the database's default."""

    customer_id: str
    package_size: int
    priority: str | None = None
    payload: dict[str, Any] = field(default_factory=dict)
    queue: str = "default"
    not_before: datetime | None = None
    deadline_at: datetime | None = None
    # None: the database numbers its jobs.
    id: UUID | None = field(default_factory=job_ids.new)


def enqueue(new: NewJob, *, actor: Actor = CONSOLE, reason: str = "") -> Job:
    """Accept one job; the dispatcher sends its message. Raise ``InvalidJob`` when it can't be accepted.

    ``reason``: why a person enqueues it.
    """
    [job_id] = enqueue_many([new], actor=actor, reason=reason)
    return Job.objects.get(pk=job_id)


def enqueue_many(new_jobs: Sequence[NewJob], *, actor: Actor = CONSOLE, reason: str = "") -> list[UUID]:
    """Accept all of these jobs, or none when one is invalid; return their ids. Raise ``InvalidJob`` then."""
    for new in new_jobs:
        validate(new)
    with transaction.atomic():
        if any(new.deadline_at for new in new_jobs):
            refuse_passed(new_jobs, _now())
        jobs = store([row_of(new) for new in new_jobs])
        record_all([_event(job, actor, reason) for job in jobs])
        outbox.post_all([_message(job, new) for job, new in zip(jobs, new_jobs, strict=True)])
    return [job.pk for job in jobs]


def store(jobs: list[Job]) -> list[Job]:
    """Insert rows. Raise ``InvalidJob`` when the database gives one not back, which it does not call an error."""
    try:
        stored = Job.objects.bulk_create(jobs, batch_size=BATCH)
    except (
        NotGivenBack,
        AssertionError,
    ) as error:  # The second is Django's, of several rows that the database numbers.
        raise InvalidJob(_NOT_GIVEN_BACK) from error
    if any(isinstance(value, DatabaseDefault) for job in stored for value in vars(job).values()):
        raise InvalidJob(_NOT_GIVEN_BACK)
    return stored


def _now() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now


def refuse_passed(new_jobs: Sequence[NewJob], now: datetime) -> None:
    """Raise ``InvalidJob`` when a deadline has passed by the database's clock: the run would count as hung at its start."""
    passed = next((new for new in new_jobs if new.deadline_at and new.deadline_at <= now), None)
    if passed is not None and passed.deadline_at is not None:
        raise InvalidJob(
            f"deadline_at must lie in the future: {passed.deadline_at.isoformat()} had passed at {now.isoformat()}."
        )


def first_refused(new_jobs: Sequence[NewJob]) -> int | None:
    """Return the index of the first of these jobs that the database refuses, or None. Nothing is kept."""
    with transaction.atomic():
        refused = _first_refused(new_jobs)
        transaction.set_rollback(True)
    return refused


def _first_refused(new_jobs: Sequence[NewJob]) -> int | None:
    """Insert half of those in question at a time: what is accepted stays, since a later job may conflict with it."""
    begin, end = 0, len(new_jobs)
    while begin < end:
        middle = (begin + end + 1) // 2
        try:
            with transaction.atomic():
                store([row_of(new) for new in new_jobs[begin:middle]])
                _check_deferred_constraints()
        except (DatabaseError, InvalidJob):
            if middle - begin == 1:
                return begin
            end = middle
        else:
            begin = middle
    return None


def _check_deferred_constraints() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


def validate(new: NewJob) -> None:
    """Raise ``InvalidJob`` when the job can't be stored or could never be sent."""
    for name, text in (("customer_id", new.customer_id), ("priority", new.priority)):
        if text is not None and not (first_visible(text) and is_storable(text) and not has_control(text)):
            raise InvalidJob(f"{name} must be non-empty text without control characters and lone surrogates.")
    if not 0 < new.package_size <= LARGEST_INTEGER:
        raise InvalidJob(f"package_size must be a whole number from 1 to {LARGEST_INTEGER}.")
    _validate_times(new)
    if new.queue not in settings.QUEUES:
        known = ", ".join(sorted(settings.QUEUES)) or "none is configured"
        raise InvalidJob(f"There is no queue named '{new.queue}'. Known queues: {known}.")
    if problem := json_problem(new.payload):
        raise InvalidJob(f"payload can't be stored: {problem}.")
    size = len(json.dumps(new.payload).encode())
    if size > settings.OPSCONSOLE_BODY_LIMIT_BYTES:
        limit = settings.OPSCONSOLE_BODY_LIMIT_BYTES
        raise InvalidJob(f"payload is {size} bytes; at most {limit} are accepted.")


def _validate_times(new: NewJob) -> None:
    for name, time in (("not_before", new.not_before), ("deadline_at", new.deadline_at)):
        if time is not None and not is_aware(time):
            raise InvalidJob(f"{name} must have a time zone.")
        if time is not None and not FIRST_YEAR <= time.year <= LAST_YEAR:
            raise InvalidJob(f"{name} must lie between the years {FIRST_YEAR} and {LAST_YEAR}.")
    if new.not_before and new.deadline_at and new.deadline_at <= new.not_before:
        raise InvalidJob(
            "deadline_at must lie after not_before: the job could not start before its deadline."
        )


def row_of(new: NewJob) -> Job:
    job = Job(
        id=new.id,
        customer_id=new.customer_id,
        package_size=new.package_size,
        payload=new.payload,
        queue=new.queue,
        not_before=new.not_before,
        deadline_at=new.deadline_at,
    )
    for name, now in JOBS.times_of_new_row().items():
        setattr(job, name, RawSQL(now, ()))  # noqa: S611 - made of the mapping
    if JOBS.has_own_words:
        # Their default may be another of their words that wait.
        job.status = Status.PENDING
    if new.priority is not None:
        job.priority_level = new.priority
    return job


def _event(job: Job, actor: Actor, reason: str) -> NewEvent:
    return NewEvent(job.pk, JobEvent.Kind.ENQUEUED, 1, actor, reason, trace_context.details())


def _message(job: Job, new: NewJob) -> NewMessage:
    # It must not be due before the job itself.
    return NewMessage(job.pk, 1, new.queue, outbox.ENQUEUED, retry=False, due_at=new.not_before)
