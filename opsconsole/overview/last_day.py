"""Figures of the last day and hour, the longest wait, and the dead letters. None means unknown (I8)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.db.models.functions import Now

from alerts.models import Rule
from jobs.models import DeadLetter, DeadLetterQueue, Job
from jobs.watch import lost_workers, refused_claims
from opsconsole.kit import counting, intervals
from opsconsole.kit.built_once import built_once
from opsconsole.kit.durations import DAY
from opsconsole.kit.lateness import late_after
from opsconsole.kit.one_statement import Reading, column_of, count_of, records_of, value_of
from ratelimits.records.gauges import limited_rows


@built_once
def readings() -> dict[str, Reading[Any]]:
    """Return the readings of the figures of a day or an hour."""
    return {
        "taken_day": column_of(counting.capped(lost_workers.taken_within_a_day())),
        "arrived_day": count_of(Job.objects.filter(created_at__gte=Now() - DAY)),
        "recovered": count_of(lost_workers.recovered_within_a_day()),
        "refused_claims": refused_claims.reading(),
        "limited_hour": records_of(limited_rows()),
    }


def figures_of(read: Mapping[str, Any], lines: Mapping[str, Rule]) -> dict[str, Any]:
    """Return the figures, given what was read, with the thresholds of their alerts. None: unknown."""
    limited = read["limited_hour"]
    return {name: read[name] for name in ("taken_day", "arrived_day", "recovered", "refused_claims")} | {
        "limited_hour": None if limited is None else sum(number for _, number in limited),
        "stale_line": lines["stale_jobs_day"].threshold,
        "limited_line": lines["limited_requests_hour"].threshold,
    }


def stale_day(taken: Iterable[Any] | None, stale: frozenset[Any]) -> int | None:
    """Return how many jobs ``lost_workers.within_a_day()`` has, given those taken within a day and those stale now."""
    return None if taken is None else min(len(stale.union(taken)), counting.COUNTED_TO + 1)


def oldest_wait(since: datetime | None, now: datetime) -> timedelta | None:
    """Return how long the job has waited that may start and waits longest, given since when; None: no job waits."""
    return None if since is None else max(now - since, timedelta(0))


@dataclass(frozen=True)
class DeadLetterDepths:
    """The number of dead letters per queue that was read recently, and of all; ``total`` None: one is unknown."""

    total: int | None
    by_queue: Mapping[str, int]


def dead_letter_queues() -> QuerySet[DeadLetterQueue]:
    return DeadLetterQueue.objects.filter(url__in=_urls())


def _urls() -> set[str]:
    return {queue.dlq_url for queue in settings.QUEUES.values() if queue.dlq_url}


def dead_letters(queues: Iterable[DeadLetterQueue], now: datetime) -> DeadLetterDepths:
    """Return the numbers in all configured queues, given their rows."""
    urls = _urls()
    patience = late_after(intervals.of_dead_letter_checks().every)
    known = {
        str(dlq): dlq.depth for dlq in queues if _is_fresh(dlq, now - patience) and dlq.depth is not None
    }
    return DeadLetterDepths(sum(known.values()) if urls and len(known) == len(urls) else None, known)


def _is_fresh(dlq: DeadLetterQueue, since: datetime) -> bool:
    return not dlq.error and dlq.unreadable_since is None and dlq.read_at is not None and dlq.read_at >= since


def soonest_expiry() -> Reading[datetime | None]:
    """Read when SQS deletes the first undecided letter."""
    waiting = DeadLetter.objects.present().filter(expires_at__isnull=False)
    return value_of(waiting.order_by("expires_at").values_list("expires_at", flat=True))
