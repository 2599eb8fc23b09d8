"""An operator's decisions about a bulk operation: conditional updates with a reason (I4, I10).

Each returns the operation as it is then. Its row is locked until the transaction ends, so no chunk changes its figures.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Max
from django.db.models.functions import Now

from jobs.bulk.kinds import BulkRefused
from jobs.bulk.registry import kind_of
from jobs.bulk.runner_leases import wake
from jobs.models import BulkEvent, BulkMember, BulkOperation
from jobs.models.bulk import DatedOperation
from jobs.operations import previews
from jobs.runs.timeline import Actor
from opsconsole.kit import actors, reasons
from opsconsole.kit.row_locks import locked

KEPT = "with the operation and on each timeline"

State = BulkOperation.State
DECIDED = (BulkEvent.Kind.BEGUN, BulkEvent.Kind.CANCELLED, BulkEvent.Kind.RESUMED)
# For the chunk that is being worked on.
LONGEST_WAIT = timedelta(seconds=10)


def made(operation: BulkOperation) -> int:
    """Return how many decisions were made so far: what was seen before a cancel and a resume is as old as before a cancel."""
    return operation.events.filter(kind__in=DECIDED).count()


def locked_operation(pk: int) -> DatedOperation | None:
    """Return the operation locked. A chunk of it holds the lock for about a second."""
    return locked(BulkOperation.objects.filter(pk=pk).annotate(db_now=Now()), wait=LONGEST_WAIT).first()


def must_be_typed(operation: BulkOperation) -> bool:
    """Tell whether the size must be typed to confirm: when it exceeds what is done at once."""
    return operation.will > settings.OPSCONSOLE_BULK_AT_ONCE


def begin(operation: BulkOperation, actor: Actor, reason: str, *, typed: str = "") -> BulkOperation:
    """Confirm a preview that this operator made, so that the cluster carries it out.

    Raise ``BulkRefused`` without a reason, with a wrong number where the size must be typed, or when the preview is
    too old, belongs to somebody else, or was confirmed before.
    """
    reason = reasons.required(reason, BulkRefused, KEPT)
    if operation.state == State.FREEZING:
        raise BulkRefused("It is still being prepared. Confirm it when all that matches is in the preview.")
    if not operation.will:
        raise BulkRefused("Nothing in this preview can be done; it says why.")
    if must_be_typed(operation) and re.sub(r"[\s,.'_]", "", typed) != str(operation.will):
        many = kind_of(operation.action).count(operation.will)
        raise BulkRefused(f"Type {operation.will:,} to confirm that you mean {many}.")
    with transaction.atomic():
        mine = BulkOperation.objects.filter(pk=operation.pk, state=State.PREVIEW, actor=actor.name)
        if not mine.filter(created_at__gt=Now() - previews.PREVIEW_LASTS).update(
            state=State.RUNNING, reason=reason, begun_at=Now(), due_at=Now()
        ):
            raise BulkRefused(
                "This preview is older than an hour, belongs to another user, or was confirmed before. "
                "Nothing was changed. Select again and read the new preview."
            )
        BulkOperation.objects.filter(pk=operation.pk).update(skipped=_left_out(operation))
        _tell(operation, BulkEvent.Kind.BEGUN, actor, reason)
        wake()
        return BulkOperation.objects.get(pk=operation.pk)


def _left_out(operation: BulkOperation) -> int:
    """Return how many members the preview leaves out. They are skipped since they were frozen, unless the version before did that."""
    number = operation.total - operation.will
    skipped = operation.members.filter(outcome=BulkMember.Outcome.SKIPPED)
    if number and skipped.count() < number:
        left_out = operation.members.waiting().filter(will=False)
        left_out.update(outcome=BulkMember.Outcome.SKIPPED, settled_at=Now())
    return number


def cancel(operation: BulkOperation, actor: Actor, reason: str) -> BulkOperation:
    """Stop after the current chunk. What was done stays done. One that is being frozen ends, since nobody has confirmed it."""
    reason = reasons.required(reason, BulkRefused, KEPT)
    sentence = f"Stopped by {actors.in_words(actor.name)}: {reason}"
    with transaction.atomic():
        ended: dict[str, Any] = {"state": State.CANCELLED, "ended_at": Now(), "sentence": sentence}
        if operation.state == State.FREEZING:
            _change(operation, [State.FREEZING], **ended, choice="", total=0, will=0)
        else:
            _change(operation, [State.RUNNING], **ended)
        _tell(operation, BulkEvent.Kind.CANCELLED, actor, reason)
        return BulkOperation.objects.get(pk=operation.pk)


def resume(operation: BulkOperation, actor: Actor, reason: str) -> BulkOperation:
    """Continue with the members that are still waiting; the next ones are again a trial for the rest."""
    reason = reasons.required(reason, BulkRefused, KEPT)
    done_members = operation.members.filter(outcome=BulkMember.Outcome.DONE)
    with transaction.atomic():
        _change(
            operation,
            [State.CANCELLED, State.STOPPED],
            state=State.RUNNING,
            ended_at=None,
            sentence="",
            due_at=Now(),
            troubles=0,
            trial_after=done_members.aggregate(last=Max("id"))["last"] or 0,
            trial_until=None,
            trial_passed=False,
        )
        _tell(operation, BulkEvent.Kind.RESUMED, actor, reason)
        wake()
        return BulkOperation.objects.get(pk=operation.pk)


def figures(operation: BulkOperation) -> str:
    """Return how far an operation is, such as "300 done, 10 skipped, 0 failed, 600 left"."""
    return (
        f"{operation.done:,} done, {operation.skipped:,} skipped, {operation.failed:,} failed, "
        f"{operation.remaining:,} left"
    )


def _change(operation: BulkOperation, allowed: list[BulkOperation.State], **changes: Any) -> None:
    rows = BulkOperation.objects.filter(pk=operation.pk, state__in=allowed)
    if changes["state"] == State.RUNNING:
        # One that was cancelled while it was being frozen was never confirmed.
        rows = rows.filter(begun_at__isnull=False)
    if not rows.update(**changes):
        now = BulkOperation.objects.get(pk=operation.pk)
        raise BulkRefused(f"Its state is now “{now.get_state_display().lower()}”. Nothing was changed.")


def _tell(operation: BulkOperation, kind: BulkEvent.Kind, actor: Actor, reason: str) -> None:
    BulkEvent.objects.create(
        operation=operation, kind=kind, actor=actor.name, user_id=actor.user_id, reason=reason
    )
