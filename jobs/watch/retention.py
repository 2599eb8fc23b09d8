"""Retention: deletes old rows in bounded batches, so that no lock is held for long."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import BigIntegerField, Exists, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce, Now

from jobs.models import (
    BulkMember,
    BulkOperation,
    IdempotencyKey,
    Job,
    Outbox,
    RunProgress,
    RunRollup,
    Sweep,
    WorkerHeartbeat,
)
from jobs.models.columns import HEARTBEATS, JOBS
from jobs.runs import observations
from jobs.watch import settled_letters
from jobs.watch.batched_deletes import KeptRows, delete
from opsconsole.kit.mapping import WORKER_BEATS
from opsconsole.kit.removals import kept

WORKERS_KEPT = timedelta(days=7)
PREVIEWS_KEPT = timedelta(days=1)
State = BulkOperation.State


def prune(kept_rows: KeptRows | None = None) -> dict[str, int]:
    """Delete old sweeps, sent or dropped messages, settled letters and their groups, dead workers, stored answers, and what
    bulk operations and trends don't need.

    Return how many of each. ``kept_rows`` is told which the database refused to delete: a table of theirs has rules of theirs.
    """
    stay = KeptRows() if kept_rows is None else kept_rows
    _give_up_old_preparations()
    deleted = {
        "sweeps": delete(old_sweeps(), "sweeps", stay),
        "messages": delete(old_messages(), "messages", stay),
        "dead letters": settled_letters.delete(),
        "failure groups": settled_letters.delete_empty_groups(),
        "workers": delete(dead_workers(), "workers", stay),
        "bulk members": delete(old_members(), "bulk members", stay),
        "bulk previews": delete(old_previews(), "bulk previews", stay),
        "kept answers": delete(IdempotencyKey.objects.expired(), "kept answers", stay),
        "progress of runs": delete(RunProgress.objects.expired(), "progress of runs", stay),
        "rollups of runs": delete(RunRollup.objects.expired(), "rollups of runs", stay),
    }
    observations.forget_gone_workers()
    observations.forget_ended_runs()
    return deleted


def old_sweeps() -> QuerySet[Sweep]:
    return Sweep.objects.filter(started_at__lt=Now() - kept("SWEEPS"))


def old_messages() -> QuerySet[Outbox]:
    """Return messages to delete. A refused message stays, because somebody has to see it.

    The message of a run that is still waiting stays too, because it counts how often it was re-sent.
    """
    limit = Now() - kept("MESSAGES")
    # Messages are due no earlier than they are written, and written in the order of their keys: an index of the times, which
    # each sent message would pay for, is not needed.
    written_since = Outbox.objects.filter(created_at__gte=limit).order_by("pk").values("pk")[:1]
    written_before = Q(pk__lt=Coalesce(Subquery(written_since), BigIntegerField.MAX_BIGINT))
    settled = Outbox.objects.filter(written_before, state__in=[Outbox.State.SENT, Outbox.State.DROPPED])
    still_waits = Job.objects.waiting().filter(pk=OuterRef("job_id"), run_epoch=OuterRef("run_epoch"))
    return settled.filter(available_at__lt=limit).exclude(Exists(still_waits))


def dead_workers() -> QuerySet[WorkerHeartbeat]:
    """Return workers to delete. The row of a worker whose run is still open stays as evidence.

    A mapped table may be where somebody registers workers: only rows that the console's protocol made are deleted there.
    """
    open_run = Q(pk=OuterRef("current_job_id"))
    if JOBS.life.told_by == WORKER_BEATS:
        open_run |= Q(worker_id=OuterRef("pk"))
    workers = WorkerHeartbeat.objects.silent_for(WORKERS_KEPT)
    if HEARTBEATS.differs and not HEARTBEATS.absent:
        workers = workers.filter(metadata__has_key="protocol")
    return workers.exclude(Exists(Job.objects.running().filter(open_run)))


def old_members() -> QuerySet[BulkMember]:
    """Return members of unconfirmed previews and of old operations; the counts and decisions of these stay."""
    begun = BulkOperation.objects.begun().exclude(state=State.RUNNING)
    long_ago = begun.filter(ended_at__lt=Now() - kept("MEMBERS"))
    # Cancelled or stopped while it was being prepared.
    never_begun = begun.filter(begun_at=None, ended_at__lt=Now() - PREVIEWS_KEPT)
    return BulkMember.objects.filter(operation__in=_abandoned() | long_ago | never_begun)


def old_previews() -> QuerySet[BulkOperation]:
    return _abandoned().exclude(Exists(BulkMember.objects.filter(operation=OuterRef("pk"))))


def _give_up_old_preparations() -> None:
    """Make previews of what the cluster could not prepare in this time: too old to be confirmed, and frozen no further.

    Otherwise a cluster could go on with one whose first members were deleted.
    """
    old = BulkOperation.objects.filter(state=State.FREEZING, created_at__lt=Now() - PREVIEWS_KEPT)
    old.update(state=State.PREVIEW, choice="")


def _abandoned() -> QuerySet[BulkOperation]:
    return BulkOperation.objects.filter(state=State.PREVIEW, created_at__lt=Now() - PREVIEWS_KEPT)
