"""The outlook of a run: what will happen to it, when, and if nothing, why not. The one answer for everybody (I12).

``of_run`` and ``of_sweeps`` are pure functions of the surroundings. A sweep acts by the same ``decide`` and the same
``Surroundings.standstill``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from jobs.models import Job
from jobs.models.job import JobWithEvidence
from jobs.recovery import outlook_wording
from jobs.recovery.decision import Decision, SweepAction, Why, decide
from jobs.recovery.surroundings import Stop, Surroundings


class When(StrEnum):
    NEXT_SWEEP = "next_sweep"
    # More runs are stale than one sweep recovers.
    NEXT_SWEEPS = "next_sweeps"
    AFTER_PAUSE = "after_pause"
    AFTER_HOLD = "after_hold"
    NOT_BY_ITSELF = "not_by_itself"


@dataclass(frozen=True)
class Prospect:
    """What sweeps will do about stale runs as a whole. ``at`` is the earliest time, where it is known."""

    when: When
    at: datetime | None
    stop: Stop | None
    headline: str
    sentence: str


@dataclass(frozen=True)
class Outlook:
    """What will happen to one run. ``reason`` is what decides it: the run itself, or what stops sweeps.

    ``decision`` is what a sweep decides once it looks at the run.
    """

    job: JobWithEvidence
    action: SweepAction
    when: When
    at: datetime | None
    reason: Why | Stop
    sentence: str
    decision: Decision

    @property
    def why(self) -> str:
        """Return what was seen of a run that a sweep takes, or why another run is left alone."""
        return self.sentence if self.action == SweepAction.NOTHING else self.decision.sentence


def of_sweeps(around: Surroundings) -> Prospect:
    """Return when sweeps recover the stale runs that may be recovered, and if they don't, why not."""
    when, at = _when(around)
    headline, sentence = outlook_wording.headline(around), outlook_wording.of_sweeps(around)
    return Prospect(when, at, around.stop, headline, sentence)


def of_run(job: JobWithEvidence, around: Surroundings) -> Outlook:
    """Return what will happen to a job."""
    decision = decide(job, around.acting_policy)
    if decision.action == SweepAction.NOTHING:
        sentence = outlook_wording.of_left_alone(decision)
        return Outlook(job, SweepAction.NOTHING, When.NOT_BY_ITSELF, None, decision.why, sentence, decision)
    when, at = _when(around)
    action = SweepAction.NOTHING if when == When.NOT_BY_ITSELF else decision.action
    sentence = outlook_wording.of_taken(decision, around)
    return Outlook(job, action, when, at, around.stop or decision.why, sentence, decision)


def preview(around: Surroundings, limit: int) -> list[Outlook]:
    """Return what will happen to at most ``limit`` stale or unknown runs, those waiting longest first."""
    runs = Job.objects.silent().order_by("updated_at", "pk")[:limit]
    return [of_run(run, around) for run in runs]


def _when(around: Surroundings) -> tuple[When, datetime | None]:
    match around.stop:
        case None:
            return When.NEXT_SWEEPS if around.overfull else When.NEXT_SWEEP, None
        case Stop.HELD:
            return When.AFTER_HOLD, around.held_until
        case Stop.PAUSED if around.holds_beyond_the_pause:
            return When.AFTER_HOLD, around.held_until
        case Stop.PAUSED:
            return When.AFTER_PAUSE, around.paused_until
    return When.NOT_BY_ITSELF, None
