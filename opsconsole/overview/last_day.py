"""Figures of the last day and hour, the longest wait, and the dead letters. None means unknown (I8)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from django.conf import settings
from django.db import DatabaseError, transaction
from django.db.models.functions import Now

from alerts import rules
from jobs.models import DeadLetter, DeadLetterQueue, Job
from jobs.watch import lost_workers, refused_claims
from opsconsole.kit import intervals
from opsconsole.kit.counting import count
from opsconsole.kit.lateness import late_after
from ratelimits.records.gauges import limited_in_last_hour

DAY = timedelta(days=1)
Read = TypeVar("Read")


def slow_figures() -> dict[str, Any]:
    """Return the figures that read a day or an hour of rows, with the thresholds of their alerts."""
    lines = rules.all_by_name()
    return {
        "stale_day": _known(lambda: count(lost_workers.within_a_day())),
        "arrived_day": _known(lambda: count(Job.objects.filter(created_at__gte=Now() - DAY))),
        "recovered": _known(lambda: count(lost_workers.recovered_within_a_day())),
        "refused_claims": _known(refused_claims.present),
        "limited_hour": _known(lambda: sum(limited_in_last_hour().values())),
        "stale_line": lines["stale_jobs_day"].threshold,
        "limited_line": lines["limited_requests_hour"].threshold,
    }


def _known(read: Callable[[], Read]) -> Read | None:
    try:
        with transaction.atomic():
            return read()
    except DatabaseError:
        return None


def oldest_wait(now: datetime) -> timedelta | None:
    """Return the longest wait of a job that may start, in any configured queue."""
    first = [
        Job.objects.startable().filter(queue=name).order_by("updated_at", "pk").values_list("updated_at")[:1]
        for name in settings.QUEUES
    ]
    since = [row[0] for row in first[0].union(*first[1:], all=True)] if first else []
    return max(now - min(since), timedelta(0)) if since else None


@dataclass(frozen=True)
class DeadLetterDepths:
    """The number of dead letters per queue that was read recently, and of all; ``total`` None: one is unknown."""

    total: int | None
    by_queue: Mapping[str, int]


def dead_letters(now: datetime) -> DeadLetterDepths:
    """Return the numbers in all configured queues."""
    urls = {queue.dlq_url for queue in settings.QUEUES.values() if queue.dlq_url}
    queues = DeadLetterQueue.objects.filter(url__in=urls)
    patience = late_after(intervals.of_dead_letter_checks().every)
    known = {
        str(dlq): dlq.depth for dlq in queues if _is_fresh(dlq, now - patience) and dlq.depth is not None
    }
    return DeadLetterDepths(sum(known.values()) if urls and len(known) == len(urls) else None, known)


def _is_fresh(dlq: DeadLetterQueue, since: datetime) -> bool:
    return not dlq.error and dlq.unreadable_since is None and dlq.read_at is not None and dlq.read_at >= since


def soonest_expiry() -> datetime | None:
    """Return when SQS deletes the first undecided letter."""
    waiting = DeadLetter.objects.present().filter(expires_at__isnull=False)
    return waiting.order_by("expires_at").values_list("expires_at", flat=True).first()
