"""What is to be done with a stale run. Pure: no database, no clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from django.conf import settings

from jobs.models import RecoveryControl
from jobs.runs.diagnosis import Diagnosis, Reason, diagnose
from jobs.runs.evidence import RecoverableRun


class Action(StrEnum):
    REQUEUE = "requeue"
    QUARANTINE = "quarantine"
    SKIP = "skip"


class Decision(NamedTuple):
    """What is to be done with one stale run, and why. ``counted``: whether it counts against its job."""

    run: RecoverableRun
    action: Action
    reason: Reason | None
    sentence: str
    last_seen: datetime
    silent_for: timedelta
    counted: bool


@dataclass(frozen=True)
class Policy:
    """All that a decision needs beside the run itself."""

    max_recoveries: int
    queues: frozenset[str]
    cutoff: datetime | None
    forgiven_before: datetime | None

    @classmethod
    def current(cls, state: RecoveryControl) -> Policy:
        return cls(
            max_recoveries=settings.OPSCONSOLE_MAX_RECOVERIES,
            queues=frozenset(settings.QUEUES),
            cutoff=state.cutoff,
            forgiven_before=state.forgiven_before,
        )


def decide(run: RecoverableRun, policy: Policy) -> Decision:
    """Decide what to do with a stale run."""
    diagnosis = diagnose(run)
    last_seen = diagnosis.last_seen or run.last_seen
    silent_for = diagnosis.silent_for or run.read_at - last_seen
    counted = policy.forgiven_before is None or last_seen >= policy.forgiven_before
    action, sentence = _choose(run, policy, diagnosis, counted=counted)
    return Decision(run, action, diagnosis.reason, sentence, last_seen, silent_for, counted)


def _choose(
    run: RecoverableRun, policy: Policy, diagnosis: Diagnosis, *, counted: bool
) -> tuple[Action, str]:
    began = run.started_at or run.updated_at
    if policy.cutoff and began < policy.cutoff:
        return Action.SKIP, f"It began before the cutoff {policy.cutoff:%Y-%m-%d %H:%M:%S %Z}: by hand only."
    if run.queue not in policy.queues:
        return Action.SKIP, f"Its queue '{run.queue}' is not configured, so it could not be sent again."
    if counted and run.recovery_count >= policy.max_recoveries:
        return Action.QUARANTINE, f"{diagnosis.sentence} It was recovered {run.recovery_count} times before."
    return Action.REQUEUE, diagnosis.sentence
