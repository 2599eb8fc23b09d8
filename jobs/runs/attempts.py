"""The attempts at a job: how long each run waited and ran, and where it stands on one axis of time. Pure.

They are read from the timeline, so runs of workers that write no events are known only as far as the row tells.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from jobs.models import Job, JobEvent, Status
from opsconsole.kit import actors

Kind = JobEvent.Kind
# Events that end the run whose epoch they name.
ENDS = {Kind.COMPLETED, Kind.FAILED, Kind.RETRY_SCHEDULED, Kind.RECOVERED, Kind.QUARANTINED, Kind.CANCELLED}
# Of these, the events after which the next run waits.
WITH_NEXT_RUN = {Kind.RETRY_SCHEDULED, Kind.RECOVERED}
# Events that take a job from the run before the epoch that they name.
NEXT_RUN = {Kind.REQUEUED, Kind.RELEASED, Kind.FENCED}
# All that is read of when runs waited, began and ended.
READ = ENDS | NEXT_RUN | {Kind.ENQUEUED, Kind.CLAIMED}
# All that is read of their details.
FROM_EPOCH, DELAY_SECONDS = "from_epoch", "delay_seconds"
# Points on the bar of a run.
MARKS = {Kind.PROGRESS, Kind.LATE_RESULT_REJECTED, Kind.RESENT}
# Longer ones are no backoff of ours.
LONGEST_DELAY = timedelta(days=7)


class EventFacts(Protocol):
    """What is read of an event: of its row, or where thousands are read, of less than that."""

    @property
    def kind(self) -> str: ...
    @property
    def at(self) -> datetime: ...
    @property
    def run_epoch(self) -> int | None: ...
    @property
    def actor(self) -> str: ...
    @property
    def details(self) -> Any: ...


@dataclass(frozen=True)
class Attempt:
    """One run. ``ended_as`` is the kind of the event that ended it, or '' while it has not ended.

    ``left``: a later run is known, so that this one is over; when it began or ended is unknown without an event.
    """

    run: int
    waits_since: datetime | None = None
    began_at: datetime | None = None
    ended_at: datetime | None = None
    ended_as: str = ""
    worker: str = ""
    marks: tuple[datetime, ...] = ()
    left: bool = False

    @property
    def never_began(self) -> bool:
        """Tell whether it waits, or waited until it was cancelled: each other run that ended had begun, seen or unseen."""
        is_over = self.left or self.ended_as
        return self.began_at is None and (not is_over or self.ended_as == Kind.CANCELLED)

    def waited(self, now: datetime) -> timedelta | None:
        """Return how long the run waited for a worker, so far; None where that is unknown."""
        until = self.began_at or (self.ended_at or self._so_far(now) if self.never_began else None)
        return max(until - self.waits_since, timedelta(0)) if until and self.waits_since else None

    def ran(self, now: datetime) -> timedelta | None:
        """Return how long it ran, so far; None if it never began, or where the end is unknown."""
        until = self.ended_at or self._so_far(now)
        return max(until - self.began_at, timedelta(0)) if until and self.began_at else None

    def _so_far(self, now: datetime) -> datetime | None:
        return None if self.left else now


@dataclass(frozen=True)
class Bar:
    """The place of an attempt on the axis, in percent of its width."""

    waits_at: float
    waits_for: float
    runs_at: float
    runs_for: float
    marks: list[float] = field(default_factory=list)


def of_job(job: Job, oldest_first: Iterable[EventFacts]) -> list[Attempt]:
    """Return the attempts that the events tell of, and the current one, latest first."""
    runs = of_events(oldest_first, created_at=job.created_at)
    current = runs.get(job.run_epoch) or Attempt(
        job.run_epoch, waits_since=job.created_at if job.run_epoch == 1 else None
    )
    runs[job.run_epoch] = after(_with_row(current, job), job.not_before)
    return [replace(runs[run], left=run < job.run_epoch) for run in sorted(runs, reverse=True)]


def of_events(oldest_first: Iterable[EventFacts], *, created_at: datetime | None) -> dict[int, Attempt]:
    """Return the attempts that the events of a job tell of, by run. The first one waits from the job's creation on."""
    runs: dict[int, Attempt] = {}
    for event in oldest_first:
        if event.run_epoch is not None:
            _read(runs, event, event.run_epoch)
    if first := runs.get(1):
        runs[1] = replace(first, waits_since=first.waits_since or created_at)
    return runs


def after(run: Attempt, not_before: datetime | None) -> Attempt:
    """Return the attempt without the time in which it could not start, if this is the time that counted for it."""
    if not_before is None or run.waits_since is None or run.began_at is None or not_before > run.began_at:
        return run
    return replace(run, waits_since=max(run.waits_since, not_before))


def _read(runs: dict[int, Attempt], event: EventFacts, epoch: int) -> None:
    run = runs.get(epoch) or Attempt(epoch)
    if event.kind in NEXT_RUN:
        _end(runs, _epoch_before(event) or epoch - 1, event)
        run = replace(run, waits_since=event.at)
    elif event.kind == Kind.ENQUEUED:
        run = replace(run, waits_since=event.at)
    elif event.kind == Kind.CLAIMED:
        run = replace(run, began_at=event.at, worker=actors.worker_of(event.actor))
    elif event.kind in MARKS:
        run = replace(run, marks=(*run.marks, event.at))
    runs[epoch] = run
    if event.kind in ENDS:
        _end(runs, epoch, event)
    if event.kind in WITH_NEXT_RUN:
        runs[epoch + 1] = replace(
            runs.get(epoch + 1) or Attempt(epoch + 1), waits_since=event.at + _delay(event)
        )


def _epoch_before(event: EventFacts) -> int | None:
    """Return the run from which the job was taken, if the event names one. Programs of others write what they like."""
    epoch = event.details.get(FROM_EPOCH) if isinstance(event.details, dict) else None
    return epoch if isinstance(epoch, int) else None


def _delay(event: EventFacts) -> timedelta:
    """Return after which time the next run may start."""
    seconds = event.details.get(DELAY_SECONDS) if isinstance(event.details, dict) else None
    is_time = isinstance(seconds, int | float) and 0 <= seconds <= LONGEST_DELAY.total_seconds()
    return timedelta(seconds=seconds) if is_time and seconds else timedelta(0)


def _end(runs: dict[int, Attempt], epoch: int, event: EventFacts) -> None:
    """Let the event end this run, unless an earlier one did."""
    run = runs.get(epoch)
    if run and run.ended_at is None:
        runs[epoch] = replace(run, ended_at=event.at, ended_as=event.kind)


def _with_row(run: Attempt, job: Job) -> Attempt:
    """Complete the current run by the job's row, for workers that write no events."""
    if job.status == Status.PENDING:
        return run
    run = replace(run, began_at=run.began_at or job.started_at, worker=run.worker or job.worker_id or "")
    if job.status == Status.IN_PROGRESS or run.ended_at:
        return run
    return replace(run, ended_at=job.completed_at or job.updated_at, ended_as=job.status)


def axis_of(attempts: Sequence[Attempt], now: datetime) -> tuple[datetime, datetime]:
    """Return where the axis of the bars begins and ends: the first moment that is known and the last, now if a run goes on."""
    begins = [time for each in attempts for time in (each.waits_since, each.began_at) if time]
    begin = min(begins, default=now)
    goes_on = any(each.ended_at is None and not each.left for each in attempts)
    known = [time for each in attempts for time in (each.waits_since, each.began_at, each.ended_at) if time]
    return begin, now if goes_on else max(known, default=now)


def bars(attempts: Sequence[Attempt], now: datetime) -> list[Bar]:
    """Return the place of each attempt on the axis that all of them share."""
    begin, end = axis_of(attempts, now)
    span = max(end - begin, timedelta(seconds=1))

    def at(time: datetime) -> float:
        return round(100 * min(max((time - begin) / span, 0), 1), 2)

    def bar(each: Attempt) -> Bar:
        # Of a run whose end is unknown, a bar shows only the moments that are known.
        last_known = each.began_at or each.waits_since or end
        over = each.ended_at or (last_known if each.left else end)
        began = each.began_at or over
        waits = each.waits_since or began
        return Bar(
            at(waits),
            max(round(at(began) - at(waits), 2), 0),
            at(began),
            max(round(at(over) - at(began), 2), 0) if each.began_at else 0,
            [at(mark) for mark in each.marks],
        )

    return [bar(each) for each in attempts]
