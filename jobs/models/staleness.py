"""The times of a run: its beginning, its deadline, its last sign of life, and when that makes it stale.

Each rule is written here once, as a database expression beside its Python twin. ``WorkerHeartbeatQuerySet.of_run()``
says which heartbeats count for a run, ``jobs.models.evidence_of_death`` what a silence proves. The SQL function
``find_stale_jobs`` repeats the rules in a migration, which must not change:
tests/jobs/recovery/test_one_answer_about_staleness.py runs one table of cases against every form.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Protocol

from django.conf import settings
from django.db.models import (
    Case,
    DateTimeField,
    DurationField,
    ExpressionWrapper,
    OuterRef,
    Subquery,
    Value,
    When,
)
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce, Greatest, Least, Now

from jobs.models.queue import MAX_VISIBILITY_SECONDS, QueueState
from jobs.models.worker import stale_after

# The last heartbeat that counts for the run, its start, the last change of its row, and the end of an outage in which no
# worker could send heartbeats. Only the change of the row is always known.
SIGNS_OF_LIFE = ("beat_at", "started_at", "updated_at", "outage_ended_at")


class RunRow(Protocol):
    """A loaded row of ``jobs``."""

    @property
    def started_at(self) -> datetime | None: ...
    @property
    def updated_at(self) -> datetime: ...
    @property
    def deadline_at(self) -> datetime | None: ...


def last_seen() -> Greatest:
    """Return the latest sign of life as an expression."""
    return Greatest(*SIGNS_OF_LIFE)


def last_seen_of(run: RunRow) -> datetime:
    """Return the latest sign of life of a loaded run."""
    signs: list[datetime | None] = [getattr(run, sign) for sign in SIGNS_OF_LIFE]
    return max(sign for sign in signs if sign)


def began() -> Coalesce:
    """Return the beginning of the run as an expression; workers without our protocol may not write a start."""
    return Coalesce("started_at", "updated_at")


def began_at(run: RunRow) -> datetime:
    """Return when a loaded run began."""
    return run.started_at or run.updated_at


def deadline() -> Coalesce:
    """Return the time by which the run should have ended, as an expression: its deadline, or the configured time after it began."""
    return Coalesce("deadline_at", ExpressionWrapper(began() + _longest_run(), DateTimeField()))


def deadline_of(run: RunRow) -> datetime:
    """Return when a loaded run should have ended."""
    return run.deadline_at or began_at(run) + _longest_run()


def _longest_run() -> timedelta:
    return timedelta(seconds=settings.OPSCONSOLE_RUN_DEADLINE_SECONDS)


def cutoff_or_default(cutoff: datetime | Combinable | None) -> datetime | Combinable:
    """Return the time since which a run must have shown a sign of life; default: the configured threshold ago."""
    return Now() - stale_after() if cutoff is None else cutoff


def stale_before(cutoff: datetime | Combinable | None) -> Case:
    """Return, as an expression, the time before which the last sign of life makes the run stale.

    A run that was never claimed with our protocol is left to SQS until the visibility timeout has passed. An unknown
    timeout counts as the longest that SQS allows: unknown is not zero.
    """
    limit = ExpressionWrapper(_as_expression(cutoff_or_default(cutoff)), DateTimeField())
    return Case(When(claimed_epoch__isnull=True, then=Least(limit, left_to_sqs_until())), default=limit)


def left_to_sqs_until() -> ExpressionWrapper:
    """Return the time before which a message must have been received for SQS to have delivered it again by now."""
    timeout = Subquery(
        QueueState.objects.filter(name=OuterRef("queue")).values("visibility_timeout_seconds")[:1]
    )
    visibility = ExpressionWrapper(
        Coalesce(timeout, MAX_VISIBILITY_SECONDS) * Value(timedelta(seconds=1)), DurationField()
    )
    return ExpressionWrapper(Now() - visibility, DateTimeField())


def _as_expression(value: datetime | Combinable) -> Combinable:
    return Value(value, DateTimeField()) if isinstance(value, datetime) else value
