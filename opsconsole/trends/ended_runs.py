"""Runs that ended, from the events of their timelines: the rollups count them, and the lists of the charts show them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from jobs.models import Job, JobEvent, RunRollup
from jobs.runs import attempts
from jobs.runs.attempts import Attempt

Kind = JobEvent.Kind
Dimension = RunRollup.Dimension
# Before it, nobody looks for what a run waited for: older events may be exported and gone.
LONGEST_WAIT = timedelta(days=32)
# What is read of the details of an event.
DETAILS = (attempts.FROM_EPOCH, attempts.DELAY_SECONDS)


class Outcome(StrEnum):
    """How a run ended. What operators cancelled or requeued says nothing about the work, and is not counted."""

    COMPLETED = "completed"
    FAILED = "failed"
    RETRIED = "retried"
    LOST = "lost"


OUTCOMES: dict[str, Outcome] = {
    Kind.COMPLETED: Outcome.COMPLETED,
    Kind.FAILED: Outcome.FAILED,
    Kind.RETRY_SCHEDULED: Outcome.RETRIED,
    Kind.RECOVERED: Outcome.LOST,
    Kind.QUARANTINED: Outcome.LOST,
}


@dataclass(frozen=True)
class End:
    """The event that says that a run ended."""

    id: int
    at: datetime
    kind: str
    job_id: Any
    run: int


class EventRow(NamedTuple):
    """What is read of an event. Thousands are read at once, for which rows of the model would take ten times as long."""

    kind: str
    at: datetime
    run_epoch: int | None
    actor: str
    details: dict[str, Any]


@dataclass(frozen=True)
class EndedRun:
    """A run that ended. None: how long it waited or ran is unknown."""

    event: int
    at: datetime
    job_id: Any
    run: int
    outcome: Outcome
    waited: timedelta | None
    ran: timedelta | None
    by: dict[str, str]


def kinds_of(outcome: Outcome | None = None) -> list[str]:
    """Return the kinds of events of an outcome, or of all."""
    return [str(kind) for kind, ends_as in OUTCOMES.items() if outcome in {None, ends_as}]


def of(ends: Sequence[End]) -> list[EndedRun]:
    """Return the runs that these events ended, in their order. An event after the end of its run is left out."""
    if not ends:
        return []
    jobs = {row["pk"]: row for row in _jobs(ends)}
    runs = _attempts(ends, jobs)
    ended = []
    for end in ends:
        run = runs[end.job_id].get(end.run) or Attempt(end.run, ended_at=end.at, ended_as=end.kind)
        if (run.ended_at, run.ended_as) == (end.at, end.kind):
            ended.append(_ended(end, run, jobs.get(end.job_id) or {}))
    return ended


def _jobs(ends: Sequence[End]) -> Any:
    names = (
        "pk",
        "queue",
        "priority_level",
        "customer_id",
        "created_at",
        "not_before",
        "worker_id",
        "run_epoch",
    )
    return Job.objects.filter(pk__in={end.job_id for end in ends}).values(*names)


def _attempts(ends: Sequence[End], jobs: dict[Any, Any]) -> dict[Any, dict[int, Attempt]]:
    """Return the attempts of each job, by run."""
    times = [end.at for end in ends]
    of_job: dict[Any, list[EventRow]] = defaultdict(list)
    events = JobEvent.objects.filter(
        job_id__in={end.job_id for end in ends},
        at__gte=min(times) - LONGEST_WAIT,
        at__lte=max(times),
        kind__in=[str(kind) for kind in attempts.READ],
    )
    # Of thousands of events the documents are not read, only what is asked of them: also of one that is too long to show.
    details = [f"details__{name}" for name in DETAILS]
    rows: Any = events.order_by("id").values_list("job_id", "kind", "at", "run_epoch", "actor", *details)
    for job_id, kind, at, run, actor, *of_details in rows:
        of_job[job_id].append(EventRow(kind, at, run, actor, dict(zip(DETAILS, of_details, strict=True))))
    return {
        job_id: attempts.of_events(of_job[job_id], created_at=(jobs.get(job_id) or {}).get("created_at"))
        for job_id in {end.job_id for end in ends}
    }


def _ended(end: End, run: Attempt, job: dict[str, Any]) -> EndedRun:
    outcome = OUTCOMES[end.kind]
    began = attempts.after(run, job.get("not_before"))
    worker = run.worker or (job.get("worker_id") if job.get("run_epoch") == end.run else "") or ""
    return EndedRun(
        event=end.id,
        at=end.at,
        job_id=end.job_id,
        run=end.run,
        outcome=outcome,
        waited=began.waited(end.at) if run.began_at else None,
        # The end of a lost run is when it was found, long after its worker died.
        ran=None if outcome == Outcome.LOST else run.ran(end.at),
        by={
            Dimension.ALL: "",
            Dimension.QUEUE: job.get("queue") or "",
            Dimension.PRIORITY: str(job.get("priority_level") or ""),
            Dimension.CUSTOMER: str(job.get("customer_id") or ""),
            Dimension.WORKER: worker,
        },
    )
