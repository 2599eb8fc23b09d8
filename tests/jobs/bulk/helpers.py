"""Helpers that create, begin and work on bulk operations without waiting for the clock."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from django.db.models.functions import Now

from jobs.bulk import chunks, decisions, freezing
from jobs.bulk.registry import kind_of
from jobs.models import BulkEvent, BulkMember, BulkOperation, Job, Status
from jobs.runs.timeline import Actor
from tests.factories import SECOND

ADA = Actor.operator("ada", 7)
REASON = "the customer called"
RUNNER = "runner-1"

PLANNED = ("subject", "seen_status", "seen_epoch", "seen_reason", "will", "sentence", "outcome")
AGE = re.compile(r"\b\d+ s ago")


def many(count: int, **fields: Any) -> list[Job]:
    """Create failed jobs, oldest first."""
    plain = {"customer_id": "TEST-001", "package_size": 50, "status": Status.FAILED}
    jobs = [
        Job(**{"created_at": Now() - (count - number) * SECOND} | plain | fields) for number in range(count)
    ]
    return Job.objects.bulk_create(jobs)


def planned(operation: BulkOperation) -> list[tuple[Any, ...]]:
    """Return what the plan says of each member, apart from ages, which grow from one plan to the next."""
    rows = operation.members.order_by("id").values_list(*PLANNED)
    return [tuple(AGE.sub("a while ago", str(value)) for value in row) for row in rows]


def preview(jobs: Any = None, action: str = "requeue", actor: Actor = ADA) -> BulkOperation:
    chosen = Job.objects.all() if jobs is None else Job.objects.filter(pk__in=[job.pk for job in jobs])
    return freezing.freeze(kind_of(action), chosen, actor, scope="all jobs")


def begun(jobs: Any = None, action: str = "requeue", actor: Actor = ADA) -> BulkOperation:
    operation = preview(jobs, action, actor)
    decisions.begin(operation, actor, REASON, typed=str(operation.will))
    return fresh(operation)


def fresh(operation: BulkOperation) -> BulkOperation:
    return BulkOperation.objects.get(pk=operation.pk)


def make_due(operation: BulkOperation) -> None:
    """Make the operation due, as if its pause and any lease had passed."""
    BulkOperation.objects.filter(pk=operation.pk).update(due_at=Now(), leased_until=Now())


def chunk(operation: BulkOperation, runner: str = RUNNER) -> bool:
    """Work on one chunk now, regardless of the pace."""
    BulkOperation.objects.filter(pk=operation.pk).update(due_at=Now())
    return chunks.work(fresh(operation), runner)


def finish(operation: BulkOperation) -> BulkOperation:
    """Work on chunks until the operation is no longer running."""
    for _ in range(1_000):
        if fresh(operation).state != BulkOperation.State.RUNNING:
            return fresh(operation)
        chunk(operation)
    raise AssertionError("it never ends")


def outcomes(operation: BulkOperation) -> dict[str, int]:
    found: Iterable[str] = operation.members.values_list("outcome", flat=True)
    counted = dict.fromkeys(BulkMember.Outcome.values, 0)
    for outcome in found:
        counted[outcome] += 1
    return {outcome: count for outcome, count in counted.items() if count}


def told(operation: BulkOperation) -> list[str]:
    return list(BulkEvent.objects.filter(operation=operation).values_list("kind", flat=True))
