"""Filters of the jobs list."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from django.contrib.admin.views.main import SEARCH_VAR
from django.db import connection
from django.db.models import F, Q, QuerySet
from django.db.models.expressions import RawSQL
from django.db.models.functions import Now
from django.http import HttpRequest

from jobs.admin import state_counts
from jobs.admin.known_choices import Choices, CountedFilter, KnownFilter, ModelAdmin, QueueFilter
from jobs.admin.state_counts import StateCounts
from jobs.models import Job, RecoveryControl, Status
from jobs.models.columns import JOBS
from jobs.models.job import JobQuerySet
from jobs.recovery import surroundings
from jobs.recovery.decision import Policy
from jobs.runs import status_wording
from jobs.runs.diagnosis import Reason
from jobs.watch import lost_workers
from opsconsole.kit import one_statement
from opsconsole.kit.bounded_columns import cut_in_statement
from opsconsole.kit.built_once import built_once
from opsconsole.kit.one_statement import Reading

OTHER = "other"
WAITING, SCHEDULED, FAILED_TODAY = "waiting", "scheduled", "failed_day"
WAITING_OR_SCHEDULED = "waiting or scheduled ones"
ANY = "any"
PRIORITIES_READ = 1_000
MOST_STATUSES = 30
_STATUS = JOBS.sql_column("status")


class UnindexedFilter(KnownFilter):
    """A filter without an index: the list reads the rows that match the other filters, and says how far back it read.

    ``JobChangeList`` calls ``narrow`` after all other filters and the search. ``among``: which rows it is looked for among, where
    the filter itself says so.
    """

    @property
    def among(self) -> str:
        return ""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset

    @property
    def reads_many(self) -> bool:
        """Tell whether the list has to read rows one by one for it."""
        return bool(self.value())

    def narrow(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return super().queryset(request, queryset)


class StatusFilter(UnindexedFilter, CountedFilter):
    """Offers the statuses, and parts of them that the overview counts.

    There is an index of statuses and one of customers, but none of both: of a customer, the newest jobs are looked through.
    Nor is there one that tells jobs that wait from those that are scheduled, which may be a million: both are looked through.
    """

    title = "status"
    parameter_name = "status"
    bounded = frozenset({"customer", "age", "since", "before"})

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.reads_many:
            return self.narrow(request, queryset)
        return queryset.filter(status=Status.PENDING) if self.among else queryset

    @property
    def of_customer(self) -> bool:
        return bool(self.request.GET.get("customer") or self.request.GET.get(SEARCH_VAR))

    @property
    def reads_many(self) -> bool:
        return super().reads_many if self.of_customer else self.value() == WAITING

    @property
    def among(self) -> str:
        return WAITING_OR_SCHEDULED if self.value() == WAITING and not self.of_customer else ""

    def counts(self, rows: QuerySet[Any] | None) -> Mapping[str, str]:
        if rows is not None:
            return state_counts.among_first(rows, "status")
        return _counts_of_all().read()

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> Choices:
        return [
            (Status.PENDING, status_wording.WAITING_OR_SCHEDULED),
            (WAITING, status_wording.WAITING),
            (SCHEDULED, status_wording.SCHEDULED),
            *(
                (status.value, status_wording.of_status(status))
                for status in Status
                if status != Status.PENDING
            ),
            (FAILED_TODAY, "Failed in the last 24 hours, created in 7 days"),
            (OTHER, "Other (not known here)"),
        ]

    def apply(self, rows: JobQuerySet, value: str) -> JobQuerySet:
        match value:
            case "waiting":
                return rows.startable()
            case "scheduled":
                return rows.scheduled()
            case "failed_day":
                return rows.failed_within_a_day()
            case "other":
                return rows.filter(status__in=unknown_statuses())
        return rows.filter(status=value)


@built_once
def _counts_of_all() -> StateCounts:
    parts = {status.value: Job.objects.filter(status=status) for status in Status}
    return state_counts.compiled(parts | {FAILED_TODAY: Job.objects.failed_within_a_day()})


# Skipping along the index from word to word.
_WORDS = f"""
WITH RECURSIVE seen (word) AS (
    (SELECT {_STATUS} FROM {JOBS.sql} WHERE {_STATUS} IS NOT NULL ORDER BY {_STATUS} LIMIT 1)
     UNION ALL
    SELECT (SELECT {_STATUS} FROM {JOBS.sql} WHERE {_STATUS} > seen.word ORDER BY {_STATUS} LIMIT 1)
      FROM seen WHERE seen.word IS NOT NULL
)
SELECT {cut_in_statement("word")} FROM seen WHERE word IS NOT NULL LIMIT %s
"""  # noqa: S608 - names


def unknown_statuses() -> list[str]:
    """Return the unknown statuses that occur."""
    with connection.cursor() as cursor:
        cursor.execute(_WORDS, [MOST_STATUSES])
        found = [JOBS.status_of(word) for (word,) in cursor.fetchall()]
    return [status for status in found if status not in Status.values]


class WeighingFilter(KnownFilter):
    """A filter that weighs what is known of every running or waiting job: ``JobChangeList`` asks it once per page."""


class StaleFilter(WeighingFilter):
    """Offers why runs are stale, and what sweeps do about them, as the overview and its alerts count them."""

    title = "stale now"
    parameter_name = "stale"
    parts = MappingProxyType(
        {
            "recoverable": ("Those that sweeps take", surroundings.recoverable),
            "by_hand": ("Left to an operator by their queue", surroundings.left_by_hand),
            "before_cutoff": ("From before the cutoff", surroundings.before_cutoff),
            "unknown_queue": ("Of a queue that is not configured", surroundings.of_unknown_queues),
        }
    )
    unknown_parts = MappingProxyType(
        {
            "unknown_since_cutoff": (
                "Unknown whether it is alive, not from before the cutoff",
                surroundings.unknown_runs,
            ),
            "unknown_before_cutoff": (
                "Unknown whether it is alive, from before the cutoff",
                surroundings.unknown_before_cutoff,
            ),
        }
    )

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> Choices:
        return [
            (ANY, "Any reason"),
            *((reason.value, reason.label.capitalize()) for reason in Reason),
            *((name, label) for name, (label, _) in (*self.parts.items(), *self.unknown_parts.items())),
        ]

    def apply(self, rows: JobQuerySet, value: str) -> JobQuerySet:
        if value in self.unknown_parts:
            _, of_unknown = self.unknown_parts[value]
            unknown = of_unknown(RecoveryControl.load().cutoff)
            return rows.filter(pk__in=unknown.order_by().values("pk"))
        if value not in self.parts:
            return rows.filter(pk__in=_stale(value))
        _, part = self.parts[value]
        policy = Policy.current(RecoveryControl.load())
        return rows.filter(pk__in=part(Job.objects.stale(), policy).order_by().values("pk"))


class LostWorkerFilter(WeighingFilter):
    title = "lost its worker"
    parameter_name = "lost"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> Choices:
        return [("day", "In the last 24 hours"), ("recovered", "Recovered in the last 24 hours")]

    def apply(self, rows: JobQuerySet, value: str) -> JobQuerySet:
        return rows.filter(pk__in=_lost(value))


@built_once
def _stale(value: str) -> RawSQL:
    jobs = Job.objects.stale() if value == ANY else because(Job.objects.all(), Reason(value))
    return _compiled(jobs.order_by().values("pk"))


@built_once
def _lost(value: str) -> RawSQL:
    day = value == "day"
    return _compiled(lost_workers.ids_within_a_day() if day else lost_workers.ids_recovered_within_a_day())


def _compiled(keys: QuerySet[Any, Any]) -> RawSQL:
    """Return the compiled query of keys of jobs."""
    return RawSQL(*keys.query.sql_with_params())  # noqa: S611 - compiled by Django


def because(jobs: JobQuerySet, reason: Reason) -> JobQuerySet:
    """Return the jobs for which ``jobs.runs.diagnosis.diagnose`` names this reason."""
    match reason:
        case Reason.DEAD_WORKER:
            # Each of these proves that the worker died.
            stopped = Q(worker_beat_at__gte=F("updated_at"), worker_beat_at__lt=F("stale_before"))
            return jobs.silent().filter(Q(beat_at__isnull=False) | Q(worker_id__isnull=False) & stopped)
        case Reason.WORKER_MOVED_ON:
            alive = jobs.silent().filter(worker_id__isnull=False, worker_beat_at__gte=F("stale_before"))
            return alive.filter(death_proven=True, beat_at=None)
        case Reason.NEVER_BEAT:
            unheard = Q(worker_id=None) | Q(worker_beat_at=None) | Q(worker_beat_at__lt=F("updated_at"))
            return jobs.silent().filter(unheard, death_proven=True, beat_at=None)
        case Reason.UNKNOWN:
            return jobs.silent_at_any_time().exclude(death_proven=True)
        case Reason.HUNG:
            return jobs.hung()


class PriorityFilter(UnindexedFilter):
    """Offers the priorities of the newest jobs, read from the end of an index, because producers choose the words."""

    title = "priority"
    parameter_name = "priority"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> Choices:
        seen = newest_priorities()
        chosen = request.GET.get(self.parameter_name)
        return [(priority, priority) for priority in sorted(seen | {chosen} if chosen else seen)]

    def apply(self, rows: JobQuerySet, value: str) -> JobQuerySet:
        return rows.filter(priority_level=value)


def newest_priorities() -> set[str]:
    return {priority for priority in one_statement.read(**_priorities())["seen"] if priority}


@built_once
def _priorities() -> dict[str, Reading[list[str]]]:
    newest = Job.objects.order_by("-created_at", "-pk").values_list("priority_level", flat=True)
    return {"seen": one_statement.distinct_of(newest[:PRIORITIES_READ])}


class AgeFilter(KnownFilter):
    title = "age"
    parameter_name = "age"

    spans = {
        "hour": ("Created in the last hour", timedelta(hours=1)),
        "day": ("Created in the last 24 hours", timedelta(days=1)),
        "week": ("Created in the last 7 days", timedelta(days=7)),
        "older": ("Older than 7 days", timedelta(days=7)),
    }

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> Choices:
        return [(value, label) for value, (label, _) in self.spans.items()]

    def apply(self, rows: JobQuerySet, value: str) -> JobQuerySet:
        since = Now() - self.spans[value][1]
        return rows.filter(created_at__lt=since) if value == "older" else rows.filter(created_at__gte=since)


class UnindexedQueueFilter(UnindexedFilter, QueueFilter):
    pass
