"""Requeue, cancel and release for many jobs, with the same plan and guards as for one (``jobs.operations.job_operations``)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from django.db.models import Count, Q, QuerySet, TextField
from django.db.models.functions import Cast, Left
from django.utils.text import Truncator

from jobs.bulk.kinds import MOST_NAMED, Alike, Kind, MemberResult, Order, Result, Results, Trial
from jobs.models import Job, Status
from jobs.models.job import UNKNOWN_CUSTOMER
from jobs.operations import job_operations, verdicts
from jobs.operations.steps import JobAction, Step
from opsconsole.kit.one_statement import Reading, records_of

# The jobs that have waited longest come first.
OLDEST_FIRST = ("created_at", "pk")


def _plan_alike(action: JobAction, values: Sequence[str]) -> Step:
    status, queue, run_epoch, recovery_count = values
    return verdicts.step_for_all_with(action, status, queue, int(run_epoch), int(recovery_count))


def _carry_out(order: Order) -> list[Result]:
    details = {"bulk_operation": order.operation.pk}
    outcomes = job_operations.carry_out(order.steps, order.actor, order.operation.reason, details=details)
    return [Result.of(outcome) for outcome in outcomes]


RESULTS: dict[str, MemberResult] = {
    Status.COMPLETED: MemberResult("Completed", "good"),
    Status.FAILED: (again := MemberResult("Failed again", "bad")),
    Status.QUARANTINED: again,
    Status.PENDING: (under_way := MemberResult("Still waiting or running", "running")),
    Status.IN_PROGRESS: under_way,
    Status.CANCELLED: MemberResult("Cancelled", "quiet"),
}
# In characters, of the error of a job that failed again, in a cell of a table.
MOST_OF_ERROR = 120
UNKNOWN = MemberResult("Result unknown", "quiet")


def came_back(subjects: Sequence[str]) -> list[str]:
    """Return those of these jobs that reported a failure since they were requeued."""
    again = Q(status__in=[Status.FAILED, Status.QUARANTINED]) | Q(attempts__gt=0)
    jobs = Job.objects.filter(again, pk__in=subjects).exclude(status=Status.COMPLETED)
    return [str(pk) for pk in jobs.order_by(*OLDEST_FIRST).values_list("pk", flat=True)]


def _totals(subjects: QuerySet[Any]) -> list[tuple[MemberResult, int]]:
    counts: Counter[MemberResult] = Counter()
    jobs = Job.objects.filter(pk__in=subjects).order_by()
    for status, count in jobs.values_list("status").annotate(Count("pk")):
        counts[RESULTS.get(status, UNKNOWN)] += count
    return [(each, counts[each]) for each in dict.fromkeys([*RESULTS.values(), UNKNOWN]) if counts[each]]


def _failed(subjects: QuerySet[Any]) -> list[str]:
    failed = Job.objects.filter(pk__in=subjects, status__in=[Status.FAILED, Status.QUARANTINED])
    return [str(pk) for pk in failed.order_by(*OLDEST_FIRST).values_list("pk", flat=True)[:MOST_NAMED]]


def _results_of(subjects: Sequence[str]) -> Reading[Mapping[str, MemberResult]]:
    # As much as is shown, and a character that tells that there is more.
    beginning = Left(Cast("error_message", TextField()), MOST_OF_ERROR + 1)
    jobs = Job.objects.filter(pk__in=subjects).order_by().values_list("pk", "status", beginning)
    return records_of(jobs).then(lambda rows: {str(pk): _result(status, error) for pk, status, error in rows})


def _result(status: str, error: str | None) -> MemberResult:
    result = RESULTS.get(status, UNKNOWN)
    if result is not again or not error:
        return result
    return replace(result, error=Truncator(" ".join(error.split())).chars(MOST_OF_ERROR))


def came_through(subjects: Sequence[str]) -> int:
    return Job.objects.filter(status=Status.COMPLETED, pk__in=subjects).count()


def _customers(subjects: Sequence[str]) -> dict[str, str]:
    jobs = Job.objects.filter(pk__in=subjects).values_list("pk", "customer_id")
    return {str(pk): customer or UNKNOWN_CUSTOMER for pk, customer in jobs}


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
        alike=Alike(
            columns=verdicts.DECIDING, apart=verdicts.NEED_EVIDENCE, plan=partial(_plan_alike, action)
        ),
        carry_out=_carry_out,
        describe=_customers,
        trial=trial,
        results=Results(totals=_totals, failed=_failed, of=_results_of) if trial else None,
    )


_TRIAL = Trial(came_back=came_back, came_through=came_through)
KINDS = (
    _kind(JobAction.REQUEUE, "Requeue", "requeued", _TRIAL),
    _kind(JobAction.CANCEL, "Cancel", "cancelled", None),
    _kind(JobAction.RELEASE, "Release", "released", _TRIAL),
)
