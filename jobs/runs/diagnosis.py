"""The diagnosis of a run: why it is stale, from its evidence, in words. Pure.

The message of a waiting job is the subject of ``jobs.recovery.waiting``.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from django.db.models import TextChoices

from jobs.models import Status
from jobs.models.staleness import deadline_of, is_from_the_future
from jobs.runs import life_wording
from jobs.runs.evidence import Evidence
from opsconsole.kit.durations import spell


class Reason(TextChoices):
    DEAD_WORKER = "dead_worker", "dead worker"
    WORKER_MOVED_ON = "worker_moved_on", "worker moved on"
    NEVER_BEAT = "never_beat", "no heartbeat"
    UNKNOWN = "unknown", "unknown"
    HUNG = "hung", "hung"


class Diagnosis(NamedTuple):
    """A diagnosis. ``reason`` None: nothing is wrong. ``silent_for`` counts up to the moment of reading."""

    reason: Reason | None
    sentence: str
    last_seen: datetime | None = None
    silent_for: timedelta | None = None
    stale: bool = False


def diagnose(job: Evidence) -> Diagnosis:
    """Return what is wrong with a job."""
    if job.status == Status.IN_PROGRESS:
        return _of_running(job)
    return Diagnosis(None, "It is not running.")


def _of_running(run: Evidence) -> Diagnosis:
    last_seen = run.last_seen
    silent_for = run.read_at - last_seen
    if last_seen < run.stale_before:
        return _of_silent(run, silent_for)
    deadline = deadline_of(run)
    if deadline < run.read_at and run.beat_at is not None and run.beat_at >= run.stale_before:
        late = spell(run.read_at - deadline)
        sentence = f"Its worker sends heartbeats, but the run is {late} past its deadline: it looks hung."
        return Diagnosis(Reason.HUNG, sentence, last_seen, silent_for)
    return Diagnosis(None, _of_excused_or_alive(run, silent_for), last_seen, silent_for)


def _of_excused_or_alive(run: Evidence, silent_for: timedelta) -> str:
    if run.last_seen != run.outage_ended_at:
        return f"It runs: last sign of life {spell(silent_for)} ago."
    heard = f"{spell(run.read_at - run.beat_at)} ago" if run.beat_at else "never received"
    return (
        f"Its last heartbeat was {heard}. Silence counts from the end of an outage {spell(silent_for)} ago, because workers "
        "may not have been able to send heartbeats before."
    )


def _of_silent(run: Evidence, silent_for: timedelta) -> Diagnosis:
    seen = f"Last sign of life {spell(silent_for)} ago."
    if run.death_proven:
        reason, sentence = _why_silent(run)
        return Diagnosis(reason, f"{sentence} {seen}", run.last_seen, silent_for, stale=True)
    given_up = run.given_up_before is not None and run.last_seen < run.given_up_before
    rule = " It is given up by the rule for unknown runs." if given_up else ""
    sentence = f"{_why_unknown(run)} Whether the run is alive is unknown. {seen}{rule}"
    return Diagnosis(Reason.UNKNOWN, sentence, run.last_seen, silent_for, stale=given_up)


def _why_silent(run: Evidence) -> tuple[Reason, str]:
    heard_of_worker = run.worker_beat_at is not None and run.worker_beat_at >= run.updated_at
    if run.beat_at is not None or (heard_of_worker and _is_silent(run)):
        return Reason.DEAD_WORKER, life_wording.stopped(run)
    if heard_of_worker:
        sentence = f"Worker {run.worker_id} sends heartbeats, but no longer for this run: it has left it."
        return Reason.WORKER_MOVED_ON, sentence
    worker = f"worker {run.worker_id}" if run.worker_id else "its worker"
    stopped = f", and those of {worker} stopped" if _is_silent(run) else ""
    return Reason.NEVER_BEAT, f"No heartbeat was ever received for this run{stopped}."


def _why_unknown(run: Evidence) -> str:
    if is_from_the_future(run.updated_at, run):
        ahead = spell(run.updated_at - run.read_at)
        return f"Its row changed {ahead} in the future (updated_at), so its age is not known."
    if missing := life_wording.missing(run):
        return missing
    if run.worker_beat_at is None or _is_silent(run):
        return "No heartbeat names this run, and the workers of its queue are not known to name their jobs."
    return (
        f"Worker {run.worker_id} sends heartbeats, but not for this run. Either several processes or jobs share its id, or it "
        "does not name its jobs."
    )


def _is_silent(run: Evidence) -> bool:
    """Tell whether the worker's own heartbeats stopped as well, for any job."""
    return run.worker_beat_at is not None and run.worker_beat_at < run.stale_before
