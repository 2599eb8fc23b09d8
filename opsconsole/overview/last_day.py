"""Figures of the last day and hour, the longest wait, and the dead letters. None means unknown (I8)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar

from django.conf import settings
from django.db import DatabaseError, transaction

from alerts import rules
from jobs.models import DeadLetter, DeadLetterQueue, Job, JobEvent
from jobs.watch import gauges, refused_claims
from opsconsole.kit import intervals
from opsconsole.kit.lateness import late_after
from ratelimits.records.gauges import limited_in_last_hour

Read = TypeVar("Read")


def slow_figures() -> dict[str, Any]:
    """Return the figures that read a day or an hour of rows, with the thresholds of their alerts."""
    lines = rules.all_by_name()
    taken = _known(gauges.taken_in_a_day)
    return {
        "taken_day": None if taken is None else taken.total(),
        "recovered": None if taken is None else taken[JobEvent.Kind.RECOVERED],
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


def dead_letters(now: datetime) -> int | None:
    """Return the number in all configured queues; unknown when one of them was not read recently."""
    urls = {queue.dlq_url for queue in settings.QUEUES.values() if queue.dlq_url}
    queues = list(DeadLetterQueue.objects.filter(url__in=urls))
    patience = late_after(intervals.of_dead_letter_checks().every)
    depths = [dlq.depth for dlq in queues if _is_fresh(dlq, now - patience)]
    known = [depth for depth in depths if depth is not None]
    return sum(known) if urls and len(known) == len(urls) else None


def _is_fresh(dlq: DeadLetterQueue, since: datetime) -> bool:
    return not dlq.error and dlq.unreadable_since is None and dlq.read_at is not None and dlq.read_at >= since


def soonest_expiry() -> datetime | None:
    """Return when SQS deletes the first undecided letter."""
    waiting = DeadLetter.objects.present().filter(expires_at__isnull=False)
    return waiting.order_by("expires_at").values_list("expires_at", flat=True).first()
