"""Runs of jobs as their timelines tell of them, at times that a test chooses."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction

from jobs.models import Job, JobEvent
from opsconsole.kit.durations import HOUR
from opsconsole.kit.postgresql.timestamps import begin_of
from opsconsole.seals import sealer
from opsconsole.trends import rollup
from tests.factories import job

Kind = JobEvent.Kind
INSERT = "INSERT INTO job_events (job_id, at, kind, run_epoch, actor, details) VALUES (%s, %s, %s, %s, %s, '{}') RETURNING id"


def now() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        at: datetime = cursor.fetchone()[0]
        return at


def within_one_hour(happen: Callable[[datetime], None]) -> None:
    """Let things happen within one hour of the clock: if one ends meanwhile, take them back and begin anew."""
    while True:
        with transaction.atomic():
            began = now()
            happen(began)
            if begin_of(now(), HOUR) == begin_of(began, HOUR):
                return
            transaction.set_rollback(True)


def event(of: Job, kind: str, at: datetime, *, run: int = 1, actor: str = "worker:w-1") -> int:
    with connection.cursor() as cursor:
        cursor.execute(INSERT, [of.pk, at, kind, run, actor])
        return int(cursor.fetchone()[0])


def ended(
    at: datetime,
    *,
    waited: float = 5,
    ran: float = 10,
    kind: str = Kind.COMPLETED,
    worker: str = "w-1",
    **fields: Any,
) -> Job:
    """Write a job whose first run ended at this time, after it waited and ran for so many seconds."""
    began = at - timedelta(seconds=ran)
    of = job(created_at=began - timedelta(seconds=waited), **fields)
    event(of, Kind.CLAIMED, began, actor=f"worker:{worker}")
    event(of, kind, at, actor=f"worker:{worker}" if kind != Kind.RECOVERED else "sweep")
    return of


def count() -> rollup.Turn:
    """Seal what is there, and count it."""
    sealer.seal()
    return rollup.count()
