"""What is to be done with a stale run. Pure: no database, no clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from django.conf import settings

from jobs.diagnosis import Diagnosis, Reason, diagnose
from jobs.models import RecoveryControl


class Action(StrEnum):
    REQUEUE = "requeue"
    QUARANTINE = "quarantine"
    SKIP = "skip"


@dataclass(frozen=True)
class Decision:
    """What is to be done with one stale run, and why."""

    job_id: UUID
    customer_id: str
    epoch: int
    action: Action
    reason: Reason | None
    sentence: str
    stale_before: datetime
    counted: bool
    details: dict[str, Any]


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


def decide(job: Any, policy: Policy) -> Decision:
    """What to do with a stale run: a job that was loaded by ``with_evidence()``, or a ``StaleRun``."""
    diagnosis = diagnose(job)
    last_seen = diagnosis.last_seen or job.last_seen
    counted = policy.forgiven_before is None or last_seen >= policy.forgiven_before
    action, sentence = _choose(job, policy, diagnosis, counted=counted)
    return Decision(
        job_id=job.pk,
        customer_id=job.customer_id,
        epoch=job.run_epoch,
        action=action,
        reason=diagnosis.reason,
        sentence=sentence,
        stale_before=job.stale_before,
        counted=counted,
        details=_details(job.worker_id, last_seen, diagnosis, counted=counted),
    )


def _choose(job: Any, policy: Policy, diagnosis: Diagnosis, *, counted: bool) -> tuple[Action, str]:
    began = job.started_at or job.updated_at
    if policy.cutoff and began < policy.cutoff:
        return Action.SKIP, f"It began before the cutoff {policy.cutoff:%Y-%m-%d %H:%M:%S %Z}: by hand only."
    if job.queue not in policy.queues:
        return Action.SKIP, f"Its queue '{job.queue}' is not configured, so it could not be sent again."
    if counted and job.recovery_count >= policy.max_recoveries:
        return Action.QUARANTINE, f"{diagnosis.sentence} It was recovered {job.recovery_count} times before."
    return Action.REQUEUE, diagnosis.sentence


def _details(
    worker: str | None, last_seen: datetime, diagnosis: Diagnosis, *, counted: bool
) -> dict[str, Any]:
    silent = diagnosis.silent_for
    return {
        "why": diagnosis.reason,
        "worker": worker,
        "last_seen": last_seen.isoformat(),
        "silent_seconds": round(silent.total_seconds(), 1) if silent else None,
        "counted": counted,
    }
