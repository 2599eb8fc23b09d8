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
    F,
    OuterRef,
    Q,
    Subquery,
    Value,
    When,
)
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce, Greatest, Least, Now

from jobs.models.queue import MAX_VISIBILITY_SECONDS, QueueState
from jobs.models.worker import stale_after
from jobs.models.worker_observation import CLOCK_TOLERANCE, TOLERANCE_IN_STATEMENT
from opsconsole.kit.postgresql.timestamps import calculable

# The last heartbeat that counts for the run, and the end of an outage in which no worker could send heartbeats.
_BY_OUR_CLOCK = ("beat_at", "outage_ended_at")
# The start of the run and the last change of its row, as others wrote them. Only the change of the row is always known.
_BY_ANY_CLOCK = ("started_at", "updated_at")
# The latest sign of life of a row that has the evidence as columns and whose last change is old.
LAST_SEEN_IN_STATEMENT = (
    f"greatest({', '.join(_BY_OUR_CLOCK)}, updated_at, CASE WHEN started_at <= read_at"
    f" + {TOLERANCE_IN_STATEMENT} THEN started_at END)"
)


class RunRow(Protocol):
    """A loaded row of ``jobs``."""

    @property
    def started_at(self) -> datetime | None: ...
    @property
    def updated_at(self) -> datetime: ...
    @property
    def deadline_at(self) -> datetime | None: ...
    @property
    def read_at(self) -> datetime: ...


def last_seen() -> Coalesce:
    """Return the latest sign of life as an expression: times from the future are none."""
    return Coalesce(Greatest(*_BY_OUR_CLOCK, *map(_believed, _BY_ANY_CLOCK)), "created_at")


def last_seen_of(run: RunRow) -> datetime:
    """Return the latest sign of life of a loaded run."""
    signs: list[datetime | None] = [getattr(run, sign) for sign in _BY_OUR_CLOCK]
    signs += [sign for sign in (run.started_at, run.updated_at) if sign and not is_from_the_future(sign, run)]
    known = [sign for sign in signs if sign]
    if known:
        return max(known)
    # A row of a page of stale runs always has a sign, as none of its changes is from the future. So this is a Job.
    created_at: datetime = run.created_at  # type: ignore[attr-defined]  # a column of jobs
    return created_at


def _believed(time: str) -> Case:
    """Return this column as an expression; null where it is from the future, so that the clock that wrote it was wrong."""
    return Case(When(**{f"{time}__lte": _latest_believed()}, then=F(time)), output_field=DateTimeField())


def _latest_believed() -> ExpressionWrapper:
    return ExpressionWrapper(Now() + CLOCK_TOLERANCE, DateTimeField())


def changed_in_the_future() -> Q:
    """Return the condition of rows whose last change is from the future: how old it is cannot be known."""
    return Q(updated_at__gt=_latest_believed())


def is_from_the_future(time: datetime, run: RunRow) -> bool:
    """Tell whether a time of a loaded run is from the future, by the same rule."""
    return time > run.read_at + CLOCK_TOLERANCE


def began() -> Coalesce:
    """Return the beginning of the run as an expression; workers without our protocol may not write a start."""
    return Coalesce(_believed("started_at"), "updated_at")


def began_at(run: RunRow) -> datetime:
    """Return when a loaded run began."""
    start = run.started_at
    return start if start and not is_from_the_future(start, run) else run.updated_at


def deadline() -> Coalesce:
    """Return the time by which the run should have ended, as an expression: its deadline, or the configured time after it began."""
    return Coalesce("deadline_at", ExpressionWrapper(calculable(began()) + _longest_run(), DateTimeField()))


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
