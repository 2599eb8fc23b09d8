"""The runs that a bar counts: read from the events between the first and the last one that it counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.db.models import Q

from jobs.models import Job, JobEvent, RunRollup
from jobs.runs.timeline import Actor
from opsconsole.kit import addresses
from opsconsole.kit.bounded_columns import LONGEST_NAME
from opsconsole.trends import ended_runs
from opsconsole.trends.ended_runs import Dimension, End, EndedRun, Outcome
from opsconsole.trends.report import Figures

PAGE = "admin:jobs_runrollup_runs"
SHOWN = 50
# Runs of one value are searched among so many per page.
READ = 1_500
_COLUMNS = {
    Dimension.QUEUE: "queue",
    Dimension.PRIORITY: "priority_level",
    Dimension.CUSTOMER: "customer_id",
}


@dataclass(frozen=True)
class Wanted:
    """A bar: its time, and which runs of it. ``value`` None: of all values. ``outcome`` None: however they ended."""

    start: datetime
    end: datetime
    minutes: int
    dimension: str
    value: str | None
    outcome: Outcome | None


@dataclass(frozen=True)
class RunList:
    """``counted``: how many runs the bar counts. ``older``: the event before which the list goes on, None at its end."""

    counted: int
    runs: list[EndedRun]
    older: int | None


def list_url(start: datetime, minutes: int, by: str, only: str | None, outcome: str) -> str:
    """Return the address of the list of the runs that ended so in this time; of one value where ``only`` is given."""
    named = {"at": f"{start:%Y-%m-%dT%H:%MZ}", "minutes": str(minutes)}
    if only is not None:
        named |= {"by": by, "only": only}
    return f"{addresses.fixed(PAGE)}?{urlencode(named | ({'ended': outcome} if outcome else {}))}"


def read(wanted: Wanted, before: int | None = None) -> RunList:
    """Return a page of the runs, those that ended last first."""
    figures = _figures(wanted)
    counted = figures.outcomes[wanted.outcome] if wanted.outcome else figures.ended
    most = SHOWN + 1 if wanted.value is None else READ
    ends = _ends(wanted, figures, before, most)
    matching = list(ends) if wanted.value is None else _of_value(wanted, ends)
    shown = matching[:SHOWN]
    older: int | None = None
    if len(matching) > SHOWN:
        older = shown[-1].id
    elif len(ends) == READ:
        older = ends[-1].id
    runs = [
        run
        for run in ended_runs.of(shown)
        if wanted.value is None or _cut(run.by[wanted.dimension]) == wanted.value
    ]
    return RunList(counted, runs, older)


def _cut(value: Any) -> str:
    """Return a value as the rollups keep it."""
    return str(value or "")[:LONGEST_NAME]


def _figures(wanted: Wanted) -> Figures:
    figures = Figures()
    of_all = wanted.value is None
    rows = RunRollup.objects.filter(
        minutes=wanted.minutes,
        start=wanted.start,
        dimension=Dimension.ALL if of_all else wanted.dimension,
        value="" if of_all else wanted.value,
    )
    for row in rows.values("waits", "runs", "first_event", "last_event", *map(str, Outcome)):
        figures.add(row)
    return figures


def _ends(wanted: Wanted, figures: Figures, before: int | None, most: int) -> list[End]:
    last = figures.last_event if before is None else min(figures.last_event, before - 1)
    events = JobEvent.objects.filter(
        id__gte=figures.first_event,
        id__lte=last,
        at__gte=wanted.start,
        at__lt=wanted.end,
        kind__in=ended_runs.kinds_of(wanted.outcome),
        run_epoch__isnull=False,
    )
    if wanted.value is not None and wanted.dimension == Dimension.WORKER:
        found_by_sweep = Q(kind__in=ended_runs.kinds_of(Outcome.LOST))
        events = events.filter(found_by_sweep | Q(actor=Actor.worker(wanted.value).name))
    rows = events.order_by("-id").values_list("id", "at", "kind", "job_id", "run_epoch")
    return [End(event, at, kind, job_id, run or 0) for event, at, kind, job_id, run in rows[:most]]


def _of_value(wanted: Wanted, ends: Sequence[End]) -> list[End]:
    """Return those whose job has the value; what the worker was, the runs themselves tell."""
    column = _COLUMNS.get(Dimension(wanted.dimension))
    if column is None:
        return list(ends)
    jobs = Job.objects.filter(pk__in={end.job_id for end in ends})
    values = dict(jobs.values_list("pk", column))
    return [end for end in ends if _cut(values.get(end.job_id)) == wanted.value]
