"""The runs that a worker did, from the newest events of all timelines: no index leads from a worker to its runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from django.db.models import QuerySet

from jobs.models import JobEvent
from jobs.runs.timeline import Actor

EVENTS_READ = 20_000
RUNS_SHOWN = 20
Kind = JobEvent.Kind
ENDS = (Kind.COMPLETED, Kind.FAILED, Kind.RETRY_SCHEDULED, Kind.LATE_RESULT_REJECTED)


@dataclass(frozen=True)
class WorkerRun:
    """A run as its worker reported it. ``ended_as`` None: the worker reported no end, or has not yet."""

    job_id: UUID
    run: int | None
    began_at: datetime | None = None
    ended_at: datetime | None = None
    ended_as: str | None = None


def newest(worker_id: str) -> list[WorkerRun]:
    """Return the worker's newest runs, latest first, as far as they are among the newest events."""
    events = _events(worker_id).filter(kind__in=[Kind.CLAIMED, *ENDS])
    runs: dict[tuple[UUID, int | None], WorkerRun] = {}
    # A run has at most a few events of its worker.
    for job_id, run, kind, at in events.order_by("-id").values_list("job_id", "run_epoch", "kind", "at")[
        : 3 * RUNS_SHOWN
    ]:
        known = runs.setdefault((job_id, run), WorkerRun(job_id, run))
        if kind == Kind.CLAIMED:
            runs[job_id, run] = replace(known, began_at=at)
        elif known.ended_as is None:
            runs[job_id, run] = replace(known, ended_at=at, ended_as=kind)
    return list(runs.values())[:RUNS_SHOWN]


def newest_jobs(worker_id: str, most: int) -> list[UUID]:
    """Return the jobs that the worker ran, as far as they are among the newest events."""
    claimed = _events(worker_id).filter(kind=Kind.CLAIMED).order_by("-id")
    return list(claimed.values_list("job_id", flat=True)[:most])


def _events(worker_id: str) -> QuerySet[JobEvent]:
    ids = JobEvent.objects.order_by("-id").values_list("id", flat=True)
    before = ids[EVENTS_READ : EVENTS_READ + 1].first() or 0
    return JobEvent.objects.filter(actor=Actor.worker(worker_id).name, id__gt=before)
