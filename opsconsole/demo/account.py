"""The result of the demo's jobs: whether each one ended, and none was completed twice."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Count

from jobs.models import Job, JobEvent, Status
from jobs.runs import status_wording

ENDED = [Status.COMPLETED, Status.CANCELLED, Status.FAILED, Status.QUARANTINED]


@dataclass(frozen=True)
class Account:
    statuses: dict[str, int]
    events: dict[str, int]
    unfinished: list[tuple[UUID, str]]
    completed_twice: list[UUID]

    @property
    def good(self) -> bool:
        return not self.unfinished and not self.completed_twice

    def lines(self) -> list[str]:
        """Return a small table, then a line per job that did not end as it should."""
        rows = [
            (f"jobs {status_wording.within_sentence(status)}", count)
            for status, count in sorted(self.statuses.items())
        ]
        rows += [(label, self.events.get(kind, 0)) for kind, label in _EVENTS.items()]
        table = [f"{label:<32}{count:>6}" for label, count in rows]
        table += [
            f"job {job_id} did not end: it is {status_wording.within_sentence(status)}"
            for job_id, status in self.unfinished
        ]
        return table + [f"job {job_id} was completed more than once" for job_id in self.completed_twice]


_EVENTS = {
    JobEvent.Kind.RECOVERED: "runs recovered from dead workers",
    JobEvent.Kind.RETRY_SCHEDULED: "runs that failed and ran again",
    JobEvent.Kind.LATE_RESULT_REJECTED: "late results refused",
}


def draw_up(enqueued_until: datetime) -> Account:
    """Return the account of all jobs that were enqueued up to this time."""
    jobs = Job.objects.filter(created_at__lte=enqueued_until)
    completions = JobEvent.objects.filter(kind=JobEvent.Kind.COMPLETED).values("job_id").order_by()
    return Account(
        statuses=dict(jobs.values_list("status").order_by().annotate(Count("pk"))),
        events=dict(JobEvent.objects.values_list("kind").order_by().annotate(Count("pk"))),
        unfinished=list(jobs.exclude(status__in=ENDED).values_list("pk", "status")),
        completed_twice=list(
            completions.annotate(times=Count("pk")).filter(times__gt=1).values_list("job_id", flat=True)
        ),
    )
