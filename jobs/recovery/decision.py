"""The decision about a run: what a sweep does with it, and why. Pure: no database, no clock.

Sweeps call ``decide`` before they write; ``jobs.recovery.outlook`` calls it to tell what sweeps will do.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from django.conf import settings

from jobs.models import RecoveryControl, Status
from jobs.models.columns import JOBS
from jobs.models.staleness import began_at
from jobs.runs.diagnosis import Diagnosis, Reason, diagnose
from jobs.runs.evidence import RecoverableRun
from opsconsole.kit.counting import exactly


class SweepAction(StrEnum):
    REQUEUE = "requeue"
    QUARANTINE = "quarantine"
    NOTHING = "nothing"


class Why(StrEnum):
    """Why a sweep requeues a run, quarantines it, or leaves it alone."""

    STALE = "stale"
    FORGIVEN = "forgiven"
    USED_UP = "used_up"
    NOT_RUNNING = "not_running"
    ALIVE = "alive"
    HUNG = "hung"
    UNKNOWN = "unknown"
    BEFORE_CUTOFF = "before_cutoff"
    UNKNOWN_QUEUE = "unknown_queue"
    BY_HAND = "by_hand"
    NO_WORD = "no_word"


class Decision(NamedTuple):
    """What a sweep does with one run, and why. ``counted``: whether it counts against its job."""

    run: RecoverableRun
    action: SweepAction
    why: Why
    reason: Reason | None
    sentence: str
    last_seen: datetime
    silent_for: timedelta
    counted: bool


@dataclass(frozen=True)
class Policy:
    """Everything that a decision needs besides the run. ``by_hand``: queues whose stale runs are left to operators."""

    max_recoveries: int
    queues: frozenset[str]
    cutoff: datetime | None
    forgiven_before: datetime | None
    by_hand: frozenset[str] = frozenset()

    @property
    def recovered_queues(self) -> frozenset[str]:
        """Return the queues whose stale runs sweeps recover."""
        return self.queues - self.by_hand

    @classmethod
    def current(cls, state: RecoveryControl) -> Policy:
        return cls(
            max_recoveries=settings.OPSCONSOLE_MAX_RECOVERIES,
            queues=frozenset(settings.QUEUES),
            cutoff=state.cutoff,
            forgiven_before=state.forgiven_before,
            by_hand=frozenset(settings.OPSCONSOLE_RECOVERY_BY_HAND),
        )


def decide(run: RecoverableRun, policy: Policy) -> Decision:
    """Decide what to do with a run."""
    diagnosis = diagnose(run)
    last_seen = diagnosis.last_seen or run.last_seen
    silent_for = diagnosis.silent_for or run.read_at - last_seen
    counted = policy.forgiven_before is None or last_seen >= policy.forgiven_before
    why, action, sentence = _choose(run, policy, diagnosis, counted=counted)
    return Decision(run, action, why, diagnosis.reason, sentence, last_seen, silent_for, counted)


def _choose(
    run: RecoverableRun, policy: Policy, diagnosis: Diagnosis, *, counted: bool
) -> tuple[Why, SweepAction, str]:
    seen = diagnosis.sentence
    if not diagnosis.stale:
        return _why_not_stale(run, diagnosis), SweepAction.NOTHING, seen
    if left := _left_to_operators(run, policy):
        why, sentence = left
        return why, SweepAction.NOTHING, sentence
    if run.recent_recoveries + run.failed_deliveries < policy.max_recoveries:
        return Why.STALE, SweepAction.REQUEUE, seen
    if not counted:
        return Why.FORGIVEN, SweepAction.REQUEUE, seen
    return _used_up(f"{seen} It has had {recoveries(run)}.")


def _left_to_operators(run: RecoverableRun, policy: Policy) -> tuple[Why, str] | None:
    """Return why sweeps leave a stale run alone, and what to do; None when they may recover it."""
    if policy.cutoff and began_at(run) < policy.cutoff:
        cutoff = f"{policy.cutoff:%Y-%m-%d %H:%M:%S %Z}"
        return (
            Why.BEFORE_CUTOFF,
            f"It began before the cutoff {cutoff}, so sweeps leave it until somebody requeues or cancels it.",
        )
    if run.queue not in policy.queues:
        return (
            Why.UNKNOWN_QUEUE,
            f"Its queue '{run.queue}' is not configured, so its message could not be sent.",
        )
    if run.queue in policy.by_hand:
        return Why.BY_HAND, (
            f"Sweeps leave stale runs of the queue '{run.queue}' to operators: it stays as it is until somebody who saw what it has "
            "done already requeues or cancels it."
        )
    return None


def _used_up(sentence: str) -> tuple[Why, SweepAction, str]:
    if JOBS.written(Status.QUARANTINED) is None:
        return Why.NO_WORD, SweepAction.NOTHING, f"{sentence} {JOBS.no_word(Status.QUARANTINED)}"
    return Why.USED_UP, SweepAction.QUARANTINE, sentence


def _why_not_stale(run: RecoverableRun, diagnosis: Diagnosis) -> Why:
    if run.status != Status.IN_PROGRESS:
        return Why.NOT_RUNNING
    match diagnosis.reason:
        case Reason.HUNG:
            return Why.HUNG
        case Reason.UNKNOWN:
            return Why.UNKNOWN
    return Why.ALIVE


def recoveries(run: RecoverableRun) -> str:
    """Return what counts towards quarantine: "1 recovery and 2 failed deliveries by SQS within 72 hours"."""
    window = exactly(settings.OPSCONSOLE_RECOVERY_WINDOW_HOURS, "hour")
    counted = exactly(run.recent_recoveries, "recovery", "recoveries")
    if run.failed_deliveries:
        counted += f" and {exactly(run.failed_deliveries, 'failed delivery', 'failed deliveries')} by SQS"
    return f"{counted} within {window}"
