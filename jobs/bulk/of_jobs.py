"""Requeue, cancel and release of many jobs, by the same plan and guards as of one (``jobs.operations``)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from uuid import UUID

from django.db.models import Q

from jobs import operations
from jobs.bulk.kinds import Kind, Order, Plan, Result, Trial
from jobs.models import BulkMember, Job, Status
from jobs.operations import Action, Outcome, Step

# Those that have waited longest are begun first.
OLDEST_FIRST = ("created_at", "pk")


def _plan(action: Action, subjects: Sequence[str]) -> list[Plan]:
    steps = operations.plan(action, [UUID(subject) for subject in subjects])
    return [
        Plan(str(step.job_id), step.seen_status, step.seen_epoch, step.seen_reason, step.will, step.sentence)
        for step in steps
    ]


def _carry_out(action: Action, order: Order) -> list[Result]:
    steps = [_as_seen(action, member) for member in order.members]
    details = {"bulk_operation": order.operation_id}
    outcomes = operations.carry_out(steps, order.actor, order.reason, details=details)
    return [Result(str(outcome.job_id), _settled(outcome), outcome.sentence) for outcome in outcomes]


def _as_seen(action: Action, member: BulkMember) -> Step:
    return Step(
        job_id=UUID(member.subject),
        action=action,
        seen_status=member.seen_status,
        seen_epoch=member.seen_epoch or 0,
        seen_reason=member.seen_reason,
        will=member.will,
        sentence=member.sentence,
    )


def _settled(outcome: Outcome) -> BulkMember.Outcome:
    if outcome.failed:
        return BulkMember.Outcome.FAILED
    return BulkMember.Outcome.DONE if outcome.done else BulkMember.Outcome.SKIPPED


def came_back(subjects: Sequence[str]) -> int:
    """How many of these jobs, which were sent again with no attempts counted, reported a failure since."""
    again = Q(status__in=[Status.FAILED, Status.QUARANTINED]) | Q(attempts__gt=0)
    return Job.objects.filter(again, pk__in=subjects).exclude(status=Status.COMPLETED).count()


def came_through(subjects: Sequence[str]) -> int:
    return Job.objects.filter(status=Status.COMPLETED, pk__in=subjects).count()


def _customers(subjects: Sequence[str]) -> dict[str, str]:
    jobs = Job.objects.filter(pk__in=subjects).values_list("pk", "customer_id")
    return {str(pk): customer for pk, customer in jobs}


def _kind(action: Action, verb: str, done_word: str, trial: Trial | None) -> Kind:
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
        plan=partial(_plan, action),
        carry_out=partial(_carry_out, action),
        describe=_customers,
        trial=trial,
    )


_TRIAL = Trial(came_back=came_back, came_through=came_through)
KINDS = (
    _kind(Action.REQUEUE, "Requeue", "requeued", _TRIAL),
    _kind(Action.CANCEL, "Cancel", "cancelled", None),
    _kind(Action.RELEASE, "Release", "released", _TRIAL),
)
