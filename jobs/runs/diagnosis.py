"""The diagnosis of a run: why it is stale, from its evidence, in words. Pure.

The message of a waiting job is the subject of ``jobs.recovery.waiting``.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from django.db.models import TextChoices

from jobs.models import Status
from jobs.models.staleness import deadline_of
from jobs.runs.evidence import Evidence
from opsconsole.kit.durations import spell


class Reason(TextChoices):
    DEAD_WORKER = "dead_worker", "dead worker"
    WORKER_MOVED_ON = "worker_moved_on", "worker moved on"
    NEVER_BEAT = "never_beat", "no heartbeat"
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
        reason = _why_silent(run)
        sentence = (
            f"{_SENTENCES[reason].format(worker=run.worker_id)} Last sign of life {spell(silent_for)} ago."
        )
        return Diagnosis(reason, sentence, last_seen, silent_for, stale=True)
    deadline = deadline_of(run)
    if deadline < run.read_at:
        late = spell(run.read_at - deadline)
        sentence = f"Its worker sends heartbeats, but the run is {late} past its deadline: it looks hung."
        return Diagnosis(Reason.HUNG, sentence, last_seen, silent_for)
    sentence = f"It runs: last sign of life {spell(silent_for)} ago."
    return Diagnosis(None, sentence, last_seen, silent_for)


_SENTENCES = {
    Reason.DEAD_WORKER: "The heartbeats of worker {worker} stopped during this run.",
    Reason.WORKER_MOVED_ON: "Worker {worker} sends heartbeats, but no longer for this run: it has left it.",
    Reason.NEVER_BEAT: "No heartbeat was ever received for this run.",
}


def _why_silent(run: Evidence) -> Reason:
    if run.beat_at is not None:
        return Reason.DEAD_WORKER
    if run.worker_beat_at is not None and run.worker_beat_at >= run.updated_at:
        return Reason.WORKER_MOVED_ON
    return Reason.NEVER_BEAT
