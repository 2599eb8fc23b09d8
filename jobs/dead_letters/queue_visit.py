"""One visit to a dead letter queue: read its depth, scan it under a lease, and note what has left it.

A visit stores what it finds and carries out requests. Several clusters take turns.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from django.db import transaction
from django.db.models import DateTimeField as Time
from django.db.models import ExpressionWrapper, F, Q, Value
from django.db.models.functions import Coalesce, Now

from jobs.dead_letters import departures, replay
from jobs.dead_letters.free_letters import FreeLetters
from jobs.dead_letters.scan import Budget, ScanResult, scan
from jobs.dead_letters.side_by_side import THREADS
from jobs.models import DeadLetter, DeadLetterQueue
from opsconsole_worker import sqs

LEASE_MARGIN = timedelta(seconds=60)


@dataclass(frozen=True, kw_only=True)
class Visit:
    """The result of a visit. ``depth`` None: it could not be read, and ``problem`` says why.

    ``busy``: another process scans the queue; ``paused``: checks are paused; ``pause``: why no more was sent.
    ``locked``: letters that were left alone, because others keep their rows locked.
    """

    depth: int | None
    problem: str = ""
    busy: bool = False
    paused: bool = False
    seen: int = 0
    deleted: int = 0
    sent: int = 0
    locked: int = 0
    pause: str = ""


def visit(dlq: DeadLetterQueue, budget: Budget) -> Visit:
    """Scan the queue once, carry out requests and bring ``dlq`` up to date. SQS errors are in the result."""
    try:
        depth = read_depth(dlq)
        with _lease(dlq, budget) as ours:
            if not ours:
                return Visit(depth=depth.total, busy=True)
            return _visit(dlq, depth, budget)
    except sqs.QueueError as error:
        DeadLetterQueue.objects.filter(pk=dlq.pk).update(
            error=str(error), checked_at=Now(), unreadable_since=Coalesce("unreadable_since", Now())
        )
        dlq.refresh_from_db()
        return Visit(depth=None, problem=str(error))


def read_depth(dlq: DeadLetterQueue) -> sqs.QueueDepth:
    """Read the depth and store it. Raise ``sqs.QueueError`` when SQS refuses."""
    depth = sqs.depth(dlq.url)
    retention = timedelta(seconds=depth.retention_seconds)
    all_have_it = dlq.retention_seconds == depth.retention_seconds or _let_expire_after(dlq, retention)
    DeadLetterQueue.objects.filter(pk=dlq.pk).update(
        visible=depth.visible,
        in_flight=depth.in_flight,
        delayed=depth.delayed,
        # The next reading tries those again that others keep locked.
        retention_seconds=depth.retention_seconds if all_have_it else dlq.retention_seconds,
        read_at=Now(),
        checked_at=Now(),
        unreadable_since=None,
        error="",
    )
    dlq.refresh_from_db()
    return depth


@transaction.atomic
def _let_expire_after(dlq: DeadLetterQueue, retention: timedelta) -> bool:
    """Set when SQS will delete the letters of the queue; return whether that was possible for all."""
    free = FreeLetters()
    mine = free.lock(DeadLetter.objects.present().filter(dlq=dlq))
    expiry = ExpressionWrapper(F("sent_at") + Value(retention), Time())
    DeadLetter.objects.filter(pk__in=mine).update(expires_at=expiry)
    return not free.passed_over


@contextmanager
def _lease(dlq: DeadLetterQueue, budget: Budget) -> Iterator[bool]:
    """Yield whether this process may scan the queue. The lease of a process that dies expires."""
    free = Q(scanning_until=None) | Q(scanning_until__lt=Now())
    until = Now() + timedelta(seconds=budget.seconds) + LEASE_MARGIN
    rows = DeadLetterQueue.objects.filter(pk=dlq.pk)
    if not rows.filter(free).update(scanning_until=until, scanned_at=Now()):
        yield False
        return
    dlq.refresh_from_db()
    try:
        yield True
    finally:
        rows.filter(scanning_until=dlq.scanning_until).update(scanning_until=None)


def _visit(dlq: DeadLetterQueue, before: sqs.QueueDepth, budget: Budget) -> Visit:
    began = cast(datetime, dlq.scanned_at)  # Set with the lease.
    with ThreadPoolExecutor(THREADS, thread_name_prefix="dead-letters") as pool:
        handler = replay.PageHandler(dlq, pool)
        scanned = scan(dlq.url, before.total, handler, budget, handler.finish)
    full = is_full(before, scanned)
    empty = before.total == 0 and not scanned.seen
    departures.note_missed(dlq, began=began, full=full, empty=empty, free=handler.free)
    about = max(before.total, scanned.seen)
    DeadLetterQueue.objects.filter(pk=dlq.pk).update(seen=scanned.seen, about=about, full=full)
    after = read_depth(dlq) if scanned.deleted else before
    return Visit(
        depth=max(after.total, scanned.seen - scanned.deleted),
        seen=scanned.seen,
        deleted=scanned.deleted,
        sent=len(handler.sending.letter_ids),
        locked=len(handler.free.passed_over),
        pause=handler.sending.pause,
    )


def is_full(before: sqs.QueueDepth, scanned: ScanResult) -> bool:
    """Tell whether the scan certainly saw everything: nobody else held a message, and it ended because no more came."""
    return scanned.exhausted and not before.in_flight and scanned.seen >= before.total
