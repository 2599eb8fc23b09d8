"""Delete what has served its time, a bounded batch at a time, so that no lock is held for long."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import Exists, OuterRef, QuerySet
from django.db.models.functions import Now

from jobs.models import BulkMember, BulkOperation, IdempotencyKey, Job, Outbox, Sweep, WorkerHeartbeat

BATCH = 5_000
SWEEPS_KEPT = timedelta(days=30)
MESSAGES_KEPT = timedelta(days=7)
WORKERS_KEPT = timedelta(days=7)
PREVIEWS_KEPT = timedelta(days=1)
MEMBERS_KEPT = timedelta(days=90)


def prune() -> dict[str, int]:
    """Delete old sweeps, messages sent or dropped, dead workers, answers kept, and what bulk operations no longer need.

    Returns how many of each.
    """
    return {
        "sweeps": _delete(old_sweeps()),
        "messages": _delete(old_messages()),
        "workers": _delete(dead_workers()),
        "bulk members": _delete(old_members()),
        "bulk previews": _delete(old_previews()),
        "kept answers": _delete(IdempotencyKey.objects.expired()),
    }


def old_sweeps() -> QuerySet[Sweep]:
    return Sweep.objects.filter(started_at__lt=Now() - SWEEPS_KEPT)


def old_messages() -> QuerySet[Outbox]:
    """A refused message stays: somebody has to see it.

    So does that of a run which still waits: it counts how often the message was sent again, and to what end.
    """
    settled = Outbox.objects.filter(state__in=[Outbox.State.SENT, Outbox.State.DROPPED])
    still_waits = Job.objects.waiting().filter(pk=OuterRef("job_id"), run_epoch=OuterRef("run_epoch"))
    return settled.filter(available_at__lt=Now() - MESSAGES_KEPT).exclude(Exists(still_waits))


def dead_workers() -> QuerySet[WorkerHeartbeat]:
    """The row of a worker whose run is still open stays: it is the evidence of what became of the run."""
    open_run = Job.objects.running().filter(pk=OuterRef("current_job_id"))
    silent = WorkerHeartbeat.objects.filter(last_heartbeat__lt=Now() - WORKERS_KEPT)
    return silent.exclude(Exists(open_run))


def old_members() -> QuerySet[BulkMember]:
    """Of previews that nobody confirmed, and of operations that ended long ago; their counts and decisions stay."""
    begun = BulkOperation.objects.begun().exclude(state=BulkOperation.State.RUNNING)
    long_ago = begun.filter(ended_at__lt=Now() - MEMBERS_KEPT)
    return BulkMember.objects.filter(operation__in=_abandoned() | long_ago)


def old_previews() -> QuerySet[BulkOperation]:
    return _abandoned().exclude(Exists(BulkMember.objects.filter(operation=OuterRef("pk"))))


def _abandoned() -> QuerySet[BulkOperation]:
    return BulkOperation.objects.filter(
        state=BulkOperation.State.PREVIEW, created_at__lt=Now() - PREVIEWS_KEPT
    )


def _delete(rows: QuerySet[Any]) -> int:
    total = 0
    while True:
        deleted = rows.filter(pk__in=rows.order_by("pk").values("pk")[:BATCH]).delete()[0]
        total += deleted
        if deleted < BATCH:
            return total
