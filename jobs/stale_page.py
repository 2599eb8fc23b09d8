"""Statement one of a rescue: lock the next page of stale runs, and read what a decision needs of them (I3)."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models import Subquery
from psycopg import adapters
from psycopg.pq import Format

from jobs.models import Job, RecoveryControl

# Where a page ended, in the order (updated_at, id).
Place = tuple[datetime, UUID]


class StaleRun(NamedTuple):
    """A stale run as ``jobs.recovery.decide`` wants it. No model: a page has five hundred, payloads can be large."""

    pk: UUID
    customer_id: str
    status: str
    queue: str
    worker_id: str | None
    run_epoch: int
    recovery_count: int
    updated_at: datetime
    started_at: datetime | None
    not_before: datetime | None
    deadline_at: datetime | None
    beat_at: datetime | None
    worker_beat_at: datetime | None
    outage_ended_at: datetime | None
    stale_before: datetime
    read_at: datetime

    @property
    def last_seen(self) -> datetime:
        """As ``with_evidence()`` has it; the database would look for the beat once more to tell it."""
        signs = (self.updated_at, self.started_at, self.beat_at, self.outage_ended_at)
        return max(sign for sign in signs if sign)

    @property
    def place(self) -> Place:
        return self.updated_at, self.pk


def stale_runs() -> Any:
    """What ``lock_page`` reads from. Building the question takes longer than reading a page: once a sweep is enough."""
    outage_ended = RecoveryControl.objects.values("outage_ended_at")[:1]
    runs = Job.objects.stale().annotate(outage_ended_at=Subquery(outage_ended)).order_by("updated_at", "pk")
    return runs.select_for_update(skip_locked=True, of=("self",)).values_list(*StaleRun._fields)


def lock_page(runs: Any, behind: Place | None, size: int) -> list[StaleRun]:
    """The next of ``stale_runs()`` that no other rescuer, worker or operator holds, the longest waiting first."""
    if behind:
        runs = runs.after(*behind)
    statement, parameters = runs[:size].query.sql_with_params()
    with connection.cursor() as cursor:
        # Django reads each time in Python; psycopg does it in C, in a tenth of the time.
        cursor.cursor.adapters.register_loader("timestamptz", _TIMES)
        cursor.execute(statement, parameters)
        return [StaleRun._make(row) for row in cursor.fetchall()]


_TIMES = adapters.get_loader(adapters.types["timestamptz"].oid, Format.TEXT)
