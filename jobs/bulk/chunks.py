"""The work of bulk operations in the cluster: paced chunks, one after the other, by one runner at a time.

A runner takes an operation with a conditional update and keeps it with short leases. Any number of clusters can
share the work, members keep their order, and after a crash the next runner continues where the record ends. A chunk
of a kind that only writes to the database shares one transaction with its record: both happened, or neither.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import DatabaseError, transaction
from django.db.models import ExpressionWrapper, F, Min
from django.db.models.fields import DateTimeField, DurationField
from django.db.models.functions import Now

from jobs.bulk import background_freezing, trial
from jobs.bulk.kinds import Kind, Order, Result
from jobs.bulk.registry import kind_of
from jobs.bulk.runner_leases import BETWEEN_CHUNKS, CHUNK_LEASE
from jobs.bulk.trial import TrialVerdict
from jobs.models import BulkEvent, BulkMember, BulkOperation
from jobs.models.bulk import DatedOperation
from opsconsole.kit.errors import OpsConsoleError, first_line
from opsconsole.kit.postgresql.binary_values import binary_cursor
from opsconsole.kit.row_locks import locked

logger = logging.getLogger(__name__)

SLICE_SECONDS = 15.0
# A runner waits at most this long for its next chunk. For longer waits it returns, and the schedule calls it again.
LONGEST_NAP_SECONDS = 6.0
MOST_TROUBLES = 5
AFTER_TROUBLE = timedelta(seconds=5)
BY_ITSELF = "console"

State = BulkOperation.State
Outcome = BulkMember.Outcome

_SETTLE = """
UPDATE bulk_members AS member
   SET outcome = result.outcome, sentence = result.sentence, settled_at = statement_timestamp()
  FROM unnest(%(ids)b::bigint[], %(outcomes)b::text[], %(sentences)b::text[]) AS result (id, outcome, sentence)
 WHERE member.id = result.id AND member.outcome = 'waiting'
RETURNING member.outcome
"""


def run(seconds: float | None = None) -> bool:
    """Work on due operations for a slice of time. Return True when there is more to do.

    Short slices leave the cluster's workers free for other tasks in between.
    """
    runner = uuid.uuid4().hex
    until = time.monotonic() + (SLICE_SECONDS if seconds is None else seconds)
    try:
        while time.monotonic() < until:
            if due := BulkOperation.objects.due_for(runner).first():
                work(due, runner)
                continue
            nap = _until_next(runner)
            if nap is None or nap > LONGEST_NAP_SECONDS:
                return False
            time.sleep(nap)
        return True
    finally:
        BulkOperation.objects.filter(runner=runner).update(runner="", leased_until=Now())


def _until_next(runner: str) -> float | None:
    """Return the seconds until an operation of this runner is due, or None when it has none."""
    mine = BulkOperation.objects.at_work().filter(runner=runner)
    wait = ExpressionWrapper(Min("due_at") - Now(), DurationField())
    answer: timedelta | None = mine.aggregate(wait=wait)["wait"]
    return None if answer is None else max(0.0, answer.total_seconds())


def work(operation: BulkOperation, runner: str) -> bool:
    """Take the operation's next chunk and carry it out. Return False when it was not available, or failed and will be retried."""
    try:
        kind = kind_of(operation.action)
        if operation.state == State.FREEZING:
            return background_freezing.advance(operation, runner, kind)
        with transaction.atomic() if kind.atomic else nullcontext():
            taken = _take(operation, runner, kind)
            if taken is None:
                return False
            _advance(taken, kind)
            return True
    except (DatabaseError, OpsConsoleError) as error:
        _note_trouble(operation, runner, first_line(error))
        return False


def _take(operation: BulkOperation, runner: str, kind: Kind) -> DatedOperation | None:
    """Take the operation and return it, or None when another runner has it, it is not due or it was cancelled."""
    due = BulkOperation.objects.due_for(runner).order_by().filter(pk=operation.pk, state=State.RUNNING)
    pause = timedelta(seconds=_chunk_size(kind) / settings.OPSCONSOLE_BULK_PACE)
    if not due.update(runner=runner, due_at=Now() + pause, leased_until=Now() + CHUNK_LEASE):
        return None
    return BulkOperation.objects.annotate(db_now=Now()).get(pk=operation.pk)


def _chunk_size(kind: Kind) -> int:
    """Return one second's worth of members, so that the pace is even and cancelling is prompt."""
    return min(settings.OPSCONSOLE_BULK_PACE, kind.most_a_chunk)


def _advance(operation: DatedOperation, kind: Kind) -> None:
    judgement = trial.judge(operation, kind) if operation.remaining else trial.Judgement(TrialVerdict.GO_ON)
    match judgement.verdict:
        case TrialVerdict.STOP:
            _finish(operation, State.STOPPED, BulkEvent.Kind.STOPPED, judgement.sentence)
            return
        case TrialVerdict.WAIT:
            _wait_for_trial(operation, judgement.sentence)
            return
        case TrialVerdict.PASSED:
            _change(operation, trial_passed=True, sentence="")
            _tell(operation, BulkEvent.Kind.TRIAL_PASSED, judgement.sentence)
    _do_chunk(operation, kind, min(_chunk_size(kind), judgement.most or _chunk_size(kind)))


def _do_chunk(operation: BulkOperation, kind: Kind, size: int) -> None:
    waiting = operation.members.waiting().order_by("id")
    # Locked where the record is part of the change, so that a runner that stalled for long can't overwrite it.
    members = list((locked(waiting) if kind.atomic else waiting)[:size])
    results = kind.carry_out(Order(operation, members, kind)) if members else []
    with transaction.atomic():
        counts = _settle(members, results)
        _change(
            operation,
            done=F("done") + counts[Outcome.DONE],
            skipped=F("skipped") + counts[Outcome.SKIPPED],
            failed=F("failed") + counts[Outcome.FAILED],
            troubles=0,
            leased_until=ExpressionWrapper(F("due_at") + BETWEEN_CHUNKS, DateTimeField()),
        )
        if not operation.members.waiting().exists():
            _finish(operation, State.ENDED, BulkEvent.Kind.ENDED, "")


def _settle(members: Sequence[BulkMember], results: Sequence[Result]) -> Counter[str]:
    """Record the outcome of each member that is still waiting; return the number recorded per outcome."""
    if not members:
        return Counter()
    by_subject = {result.subject: result for result in results}
    unanswered = Result("", Outcome.FAILED, "The outcome is unknown.")
    in_order = [by_subject.get(member.subject, unanswered) for member in members]
    with binary_cursor() as cursor:
        cursor.execute(
            _SETTLE,
            {
                "ids": [member.pk for member in members],
                "outcomes": [result.outcome.value for result in in_order],
                "sentences": [result.sentence for result in in_order],
            },
        )
        return Counter(outcome for (outcome,) in cursor.fetchall())


def _wait_for_trial(operation: DatedOperation, sentence: str) -> None:
    begins: dict[str, Any] = {} if operation.trial_until else {"trial_until": trial.ends()}
    later = Now() + trial.LOOK_EVERY
    kept = later + BETWEEN_CHUNKS
    _change(operation, sentence=sentence, due_at=later, leased_until=kept, **begins)


def _finish(operation: BulkOperation, state: State, kind: BulkEvent.Kind, sentence: str) -> None:
    """End the operation, unless an operator decided otherwise in the meantime."""
    running = BulkOperation.objects.filter(pk=operation.pk, state=State.RUNNING)
    # Nobody has confirmed one that is being frozen, so nothing of it can be resumed.
    freezing = BulkOperation.objects.filter(pk=operation.pk, state=State.FREEZING)
    if running.update(state=state, sentence=sentence, ended_at=Now()) or freezing.update(
        state=state, sentence=sentence, ended_at=Now(), choice="", total=0, will=0
    ):
        _tell(operation, kind, sentence)


def _note_trouble(operation: BulkOperation, runner: str, why: str) -> None:
    """Retry a failed chunk soon, or stop the operation after too many failures in a row."""
    logger.error("Bulk operation %s: a chunk failed: %s", operation.pk, why)
    with transaction.atomic():
        _change(
            operation,
            troubles=F("troubles") + 1,
            runner=runner,
            due_at=Now() + AFTER_TROUBLE,
            leased_until=Now() + AFTER_TROUBLE + BETWEEN_CHUNKS,
        )
        if BulkOperation.objects.get(pk=operation.pk).troubles >= MOST_TROUBLES:
            sentence = (
                f"Stopped automatically: {MOST_TROUBLES} chunks failed in a row, the last one with: {why}"
            )
            _finish(operation, State.STOPPED, BulkEvent.Kind.STOPPED, sentence)


def _change(operation: BulkOperation, **changes: Any) -> None:
    BulkOperation.objects.filter(pk=operation.pk).update(**changes)


def _tell(operation: BulkOperation, kind: BulkEvent.Kind, reason: str) -> None:
    BulkEvent.objects.create(operation_id=operation.pk, kind=kind, actor=BY_ITSELF, reason=reason)
