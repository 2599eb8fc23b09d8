"""Requeue, cancel and release for many jobs, with the same plan and guards as for one (``jobs.operations.job_operations``)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from django.db.models import Q

from jobs.bulk.kinds import Kind, Order, Result, Trial
from jobs.models import Job, Status
from jobs.operations import job_operations
from jobs.operations.steps import JobAction

# The jobs that have waited longest come first.
OLDEST_FIRST = ("created_at", "pk")


def _carry_out(order: Order) -> list[Result]:
    details = {"bulk_operation": order.operation.pk}
    outcomes = job_operations.carry_out(order.steps, order.actor, order.operation.reason, details=details)
    return [Result.of(outcome) for outcome in outcomes]


def came_back(subjects: Sequence[str]) -> int:
    """Return how many of these jobs reported a failure since they were requeued."""
    again = Q(status__in=[Status.FAILED, Status.QUARANTINED]) | Q(attempts__gt=0)
    return Job.objects.filter(again, pk__in=subjects).exclude(status=Status.COMPLETED).count()


def came_through(subjects: Sequence[str]) -> int:
    return Job.objects.filter(status=Status.COMPLETED, pk__in=subjects).count()


def _customers(subjects: Sequence[str]) -> dict[str, str]:
    jobs = Job.objects.filter(pk__in=subjects).values_list("pk", "customer_id")
    return {str(pk): customer for pk, customer in jobs}


def _kind(action: JobAction, verb: str, done_word: str, trial: Trial | None) -> Kind:
    return Kind(
        action=action.value,
        model=Job,
        page="jobs_job",
        one="job",
        many="jobs",
        verb=verb,
        done_word=done_word,
        permission=f"jobs.{action.value}_job",
        order=OLDEST_FIRST,
        plan=partial(job_operations.plan, action),
        carry_out=_carry_out,
        describe=_customers,
        trial=trial,
    )


_TRIAL = Trial(came_back=came_back, came_through=came_through)
KINDS = (
    _kind(JobAction.REQUEUE, "Requeue", "requeued", _TRIAL),
    _kind(JobAction.CANCEL, "Cancel", "cancelled", None),
    _kind(JobAction.RELEASE, "Release", "released", _TRIAL),
)
