"""The outlook of a run: what will happen to it, when, and if nothing, why not. The one answer for everybody (I12).

``of_run`` and ``of_sweeps`` are pure functions of the surroundings. A sweep acts by the same ``decide`` and the same
``Surroundings.standstill``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from jobs.models import Job
from jobs.models.columns import JOBS
from jobs.models.job import JobWithEvidence
from jobs.models.staleness import changed_in_the_future
from jobs.recovery import outlook_wording
from jobs.recovery.decision import Decision, SweepAction, Why, decide
from jobs.recovery.stale_pages import not_to_be_locked
from jobs.recovery.surroundings import Stop, Surroundings
from opsconsole.kit.built_once import built_once
from opsconsole.kit.changed_rows import RowKept
from opsconsole.kit.compiled_rows import CompiledRows
from opsconsole.kit.counting import many

LOCKED, REFUSED = "locked", "refused"
# What neither decides nor is told of a stale run. Payloads can be large, and times take long to read.
UNREAD = ("payload", "error_message", "created_at", "completed_at", "not_before")


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

    ``decision`` is what a sweep decides once it looks at the run. ``locked``: it can't look while others lock the row. ``refused``:
    the database refused it in the last sweep that acted, and does so again unless somebody changed the rule or the job.
    """

    job: JobWithEvidence
    action: SweepAction
    when: When
    at: datetime | None
    reason: Why | Stop
    sentence: str
    decision: Decision
    locked: bool = False
    refused: bool = False

    @property
    def is_unknown(self) -> bool:
        """Tell whether the run is not stale, because nobody knows whether it is alive."""
        return self.decision.why == Why.UNKNOWN

    @property
    def why(self) -> str:
        """Return what was seen of a run that a sweep takes, or why another run is left alone."""
        if self.locked or self.refused or self.action == SweepAction.NOTHING:
            return self.sentence
        return self.decision.sentence

    @property
    def verb(self) -> str:
        """Return what a sweep that ran now would do: an action, 'locked', or 'refused'."""
        if self.locked:
            return LOCKED
        return REFUSED if self.refused else str(self.action)


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
    locked = job.pk in around.locked and when in {When.NEXT_SWEEP, When.NEXT_SWEEPS}
    refused = around.refused.get(job.pk, "") if when != When.NOT_BY_ITSELF else ""
    sentence = outlook_wording.of_taken(decision, around, locked=locked, refused=refused)
    reason = around.stop or decision.why
    return Outlook(job, action, when, at, reason, sentence, decision, locked, bool(refused) and not locked)


def preview(around: Surroundings, limit: int, *, probing: bool = False) -> list[Outlook]:
    """Return what will happen to at most ``limit`` stale or unknown runs, those waiting longest first.

    Which rows others have locked is known from the last sweep; ``probing`` tries it out, for a moment.
    """
    runs = [run for rows in _silent(limit) for run in rows.all()][:limit]
    if probing:
        locked, hidden = not_to_be_locked([run.pk for run in runs])
        kept = dict.fromkeys(hidden, RowKept(JOBS.name).rule)
        around = replace(around, locked=locked, refused={**around.refused, **kept}, more_in_the_way=False)
    return [of_run(run, around) for run in runs]


@built_once
def _silent(limit: int) -> tuple[CompiledRows[JobWithEvidence], ...]:
    """Return the silent runs, and those that changed in the future: asked apart, so that each follows the index of running jobs."""
    silent, ahead = Job.objects.silent(), Job.objects.silent_at_any_time().filter(changed_in_the_future())
    return tuple(
        CompiledRows(runs.defer(*UNREAD).order_by("updated_at", "pk")[:limit]) for runs in (silent, ahead)
    )


def totals(outlooks: Sequence[Outlook]) -> str:
    """Return the totals of a preview in one line, as those of a sweep: each stale run is in exactly one of them.

    A sweep does not count unknown runs, which follow.
    """
    stale = [each for each in outlooks if not each.is_unknown]
    counts = Counter(each.verb for each in stale)
    unknown, refused = len(outlooks) - len(stale), counts[REFUSED]
    return (
        f"{many(len(stale), 'stale run')}: {counts[SweepAction.REQUEUE]:,} to requeue, "
        f"{counts[SweepAction.QUARANTINE]:,} to quarantine, {counts[SweepAction.NOTHING]:,} to skip, "
        f"{counts[LOCKED]:,} locked by others{f', {refused:,} refused by the database' if refused else ''}"
        f"{f'; {unknown:,} unknown' if unknown else ''}"
    )


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
