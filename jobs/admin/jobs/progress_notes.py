"""Progress notes of runs: what they have done outside, shown before a requeue because another run may repeat it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from django.db.models import Count, F, Window
from django.db.models.functions import RowNumber

from jobs.models import JobEvent


@dataclass(frozen=True)
class DoneByRun:
    """The newest notes of one run, oldest first. ``hidden`` is the number of earlier notes that are not shown."""

    run: int | None
    actor: str
    hidden: int
    notes: list[JobEvent] = field(default_factory=list)


def of_jobs(job_ids: Iterable[UUID], *, shown: int) -> dict[UUID, list[DoneByRun]]:
    """Return the runs with notes per job, latest first, with at most ``shown`` notes each."""
    run = [F("job_id"), F("run_epoch")]
    events = (
        JobEvent.objects.filter(job_id__in=list(job_ids), kind=JobEvent.Kind.PROGRESS)
        .annotate(place=Window(RowNumber(), run, F("id").desc()), of=Window(Count("id"), run))
        .filter(place__lte=shown)
        .order_by("job_id", F("run_epoch").desc(nulls_last=True), "id")
    )
    notes: dict[UUID, list[DoneByRun]] = {}
    for event in events:
        runs = notes.setdefault(event.job_id, [])
        if not runs or runs[-1].run != event.run_epoch:
            runs.append(DoneByRun(event.run_epoch, event.actor, max(0, event.of - shown)))
        runs[-1].notes.append(event)
    return notes
