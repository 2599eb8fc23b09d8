"""The fencing of everything that ran before a restore or failover: ``recovery_mode restored`` (I1, I2, I6).

The epochs of all jobs that may still run jump to the fence, in batches, so that no message, worker or result from before
matches. Runs that were going on stay as they are, without a worker that counts, until an operator decides. Pending jobs are
sent again. Recovery only observes afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Max
from django.db.models.functions import Now
from django.utils import timezone

from jobs.messaging.outbox import RESTORED
from jobs.models import Job, JobEvent, Restore
from jobs.recovery import control, recovery_alerts
from jobs.restores import signs
from jobs.restores.fencing_statements import COMPLETE, FENCE, FENCED
from jobs.runs import timeline
from jobs.runs.timeline import Actor
from opsconsole.kit import actors, job_ids, reasons, round_trip
from opsconsole.kit.advisory_locks import AdvisoryLock
from opsconsole.kit.errors import OpsConsoleError
from opsconsole_worker import sqs

BATCH = 1_000
# The fence counts tens of seconds since then: a job that begins a new run more often than that for a whole time between two
# restores does not exist, so a restored backup never repeats an epoch of the time that was lost.
FENCES_SINCE = datetime(2026, 1, 1, tzinfo=UTC)
FENCE_SECONDS = 10
# One new run every twelve seconds for the fourteen days that SQS keeps a message.
FURTHEST_BACK = 100_000
BEGINNING: UUID = job_ids.BEFORE_ALL


class RestoreRefused(OpsConsoleError):
    """Nothing can be fenced; the message says what is missing."""


@dataclass(frozen=True)
class Fencing:
    """What a call did. ``begun``: it began a new fencing.

    ``locked``: jobs that are not fenced or not completed, because other transactions keep them locked, or a trigger or policy of
    theirs the rows as they are.
    """

    restore: Restore
    begun: bool
    locked: int
    told_completed: int


def restored(
    actor: Actor,
    reason: str,
    *,
    completed: Collection[UUID] = (),
    again: bool = False,
    record: Callable[[], object] = lambda: None,
) -> Fencing:
    """Fence everything that ran before, or go on with a fencing that was interrupted.

    A fencing that has ended is not repeated, unless a new sign of a restore was noticed, or ``again``. ``completed``: jobs of
    which the operator knows that they were completed after the backup; they are completed and not sent again. They may
    also be told later. ``record`` writes the decision elsewhere, such as in the audit, before any job is changed: in the transaction
    that begins the fencing or finds the one to go on with. Raise ``RestoreRefused`` without a reason.
    """
    reason = reasons.required(reason, RestoreRefused)
    restore, begun = _begin(actor, reason, again=again, record=record)
    completions = _complete(restore, sorted(completed), actor, reason)
    left: set[UUID] = (
        set() if restore.finished_at else _fence_all(restore, begun=begun, completions=completions)
    )
    # What was locked may be free by now.
    completions = _complete(restore, sorted(completions.locked), actor, reason, before=completions.count)
    locked = len(left | completions.locked)
    restore.refresh_from_db()
    if not restore.finished_at and not locked:
        Restore.objects.filter(pk=restore.pk, finished_at=None).update(finished_at=Now())
        restore.refresh_from_db()
        signs.settle(f"{actors.in_words(restore.actor)} fenced everything that ran before: {restore.reason}")
    return Fencing(restore, begun, locked, completions.count)


def not_restored(actor: Actor, reason: str) -> list[str]:
    """Settle the signs without fencing, because nothing was lost; return them. Raise ``RestoreRefused`` without a reason."""
    reason = reasons.required(reason, RestoreRefused)
    noticed = signs.kept()
    signs.settle(f"{actors.in_words(actor.name)} says that nothing was lost: {reason}")
    return noticed


def _begin(actor: Actor, reason: str, *, again: bool, record: Callable[[], object]) -> tuple[Restore, bool]:
    """Return the fencing to go on with, or a new one; of two operators at once, one begins it."""
    noticed = signs.look()
    highest = signs.highest_fence()
    depths = _depths()
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [AdvisoryLock.RESTORES])
        record()
        latest = Restore.objects.first()
        if latest and (latest.finished_at is None or not (again or noticed)):
            return latest, False
        control.disarm(actor, reason)
        recovery_alerts.retell()
        restore = Restore.objects.create(
            actor=actor.name, reason=reason, fence=_new_fence(highest), signs=noticed, depths=depths
        )
    restore.refresh_from_db()
    return restore, True


def _new_fence(highest: int) -> int:
    """Return an epoch above all that any job ever had, also in the time that was lost."""
    in_rows = Job.objects.aggregate(highest=Max("run_epoch"))["highest"] or 0
    by_clock = int((timezone.now() - FENCES_SINCE).total_seconds()) // FENCE_SECONDS
    return max(by_clock, max(in_rows, highest) + FURTHEST_BACK)


def _depths() -> dict[str, int | None]:
    """Return how many messages each queue holds, before anything is sent again; None where SQS does not answer."""
    return {name: _depth(queue.url) for name, queue in settings.QUEUES.items()}


def _depth(url: str) -> int | None:
    try:
        return sqs.depth(url).total
    except sqs.QueueError:
        return None


def _fence_all(restore: Restore, *, begun: bool, completions: Completions) -> set[UUID]:
    """Fence page after page, and return what others keep: it is tried again once at the end.

    Jobs that were told to be completed and could not be, because they were locked, are not sent again.
    """
    passed_over: set[UUID] = set()
    given: dict[str, object] = {"begun": begun, "told": sorted(completions.locked)}
    for _ in range(2):
        behind, passed_over = BEGINNING, set()
        while page := _fence_page(restore, behind, given):
            behind = page[-1][0]
            passed_over |= {job_id for job_id, was in page if was is None}
    return _left(restore, passed_over)


def _fence_page(restore: Restore, behind: UUID, given: dict[str, object]) -> list[tuple[UUID, str | None]]:
    """Fence a page of jobs in one round trip, and count it."""
    parameters = _parameters(restore) | given | {"behind": behind, "size": BATCH, "why": RESTORED}
    [page] = round_trip.run(FENCE, parameters)
    was = [status for _, status in page if status is not None]
    timeline.log_each(
        JobEvent.Kind.FENCED,
        [{"job": job_id, "was": status} for job_id, status in page if status is not None],
        run=restore.fence,
        restore=restore.pk,
    )
    running, waiting = was.count("in_progress"), was.count("pending")
    Restore.objects.filter(pk=restore.pk).update(
        fenced_running=F("fenced_running") + running,
        fenced_waiting=F("fenced_waiting") + waiting,
        fenced_ended=F("fenced_ended") + len(was) - running - waiting,
    )
    return page


def _parameters(restore: Restore) -> dict[str, object]:
    return {
        "fence": restore.fence,
        "began_at": restore.began_at,
        "actor": restore.actor,
        "reason": restore.reason,
        "restore": restore.pk,
        "fenced": list(FENCED),
    }


def _left(restore: Restore, passed_over: Collection[UUID]) -> set[UUID]:
    """Return those of the jobs that were passed over that must still be fenced."""
    rows = Job.objects.filter(pk__in=passed_over, run_epoch__lt=restore.fence, status__in=FENCED)
    return set(rows.values_list("pk", flat=True))


@dataclass(frozen=True)
class Completions:
    """What became of the jobs that an operator told to be completed: how many are, and which others keep locked."""

    count: int
    locked: frozenset[UUID]


def _complete(
    restore: Restore, ids: Sequence[UUID], actor: Actor, reason: str, before: int = 0
) -> Completions:
    """Complete the jobs of which the operator knows that they were done. ``before``: how many are already."""
    completed = 0
    locked: set[UUID] = set()
    for start in range(0, len(ids), BATCH):
        given = {"ids": list(ids[start : start + BATCH]), "actor": actor.name, "reason": reason}
        [rows] = round_trip.run(COMPLETE, _parameters(restore) | given)
        completed += sum(ended for _, ended in rows)
        timeline.log_each(
            JobEvent.Kind.COMPLETED,
            [{"job": job_id} for job_id, ended in rows if ended],
            restore=restore.pk,
            actor=actor.name,
        )
        locked |= {job_id for job_id, ended in rows if not ended}
    Restore.objects.filter(pk=restore.pk).update(told_completed=F("told_completed") + completed)
    return Completions(before + completed, frozenset(locked))
