"""Find runs whose worker died and start them again.

A page at a time, two statements in one transaction (I3): the first locks candidates that nobody else holds,
the second looks at the heartbeats again, on a new snapshot, and writes row, timeline and outbox together. A
beat or a result that was committed in between wins.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, transaction
from django.db.models.functions import Now

from jobs import control, hung, lost, rescue
from jobs.diagnosis import Diagnosis, Reason, diagnose
from jobs.models import Job, RecoveryControl, Sweep
from opsconsole import pauses

logger = logging.getLogger(__name__)

DETAILS_KEPT = 50
STANDING_STILL = {Sweep.Mode.HELD, Sweep.Mode.PAUSED}
# What a decision needs; payloads can be large.
READ_OF_A_JOB = (
    "customer_id", "status", "queue", "worker_id", "run_epoch", "claimed_epoch", "recovery_count",
    "updated_at", "started_at", "not_before", "deadline_at",
)  # fmt: skip


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
    """What to do with a stale run that was loaded by ``with_evidence()``. Pure."""
    diagnosis = diagnose(job)
    counted = policy.forgiven_before is None or job.last_seen >= policy.forgiven_before
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
        details=_details(job, diagnosis, counted=counted),
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


def _details(job: Any, diagnosis: Diagnosis, *, counted: bool) -> dict[str, Any]:
    silent = diagnosis.silent_for
    return {
        "why": diagnosis.reason,
        "worker": job.worker_id,
        "last_seen": job.last_seen.isoformat(),
        "silent_seconds": round(silent.total_seconds(), 1) if silent else None,
        "counted": counted,
    }


def preview(limit: int = 500) -> list[Decision]:
    """What a sweep that may act would do now, at most ``limit`` runs, the longest waiting first."""
    policy = Policy.current(RecoveryControl.load())
    jobs = Job.objects.stale().order_by("updated_at", "pk")[:limit]
    return [decide(job, policy) for job in jobs]


def sweep(trigger: str) -> Sweep:
    """Look once at all runs, recover the stale ones, re-send lost messages. Returns the saved row.

    At most OPSCONSOLE_SWEEP_LIMIT runs are recovered; the next sweep goes on.
    """
    state = RecoveryControl.load()
    after_outage = control.note_outage(state)
    row = Sweep.objects.create(trigger=trigger, mode=_mode(state))
    tally = _observe(state) if row.mode != Sweep.Mode.ARMED else _recover(Policy.current(state))
    Sweep.objects.filter(pk=row.pk).update(
        finished_at=Now(),
        found=tally.found,
        requeued=tally.done[Action.REQUEUE],
        quarantined=tally.done[Action.QUARANTINE],
        skipped=tally.done[Action.SKIP],
        errors=tally.errors,
        resent=0 if row.mode in STANDING_STILL else lost.resend_lost(),
        note=_note(row, state, tally, after_outage=after_outage),
        details={"lines": tally.lines},
    )
    hung.watch()
    row.refresh_from_db()
    return row


def _mode(state: RecoveryControl) -> Sweep.Mode:
    if not state.armed:
        return Sweep.Mode.OBSERVE
    if pauses.active(pauses.RECOVERY):
        return Sweep.Mode.PAUSED
    return Sweep.Mode.HELD if control.held(state) else Sweep.Mode.ARMED


def _note(row: Sweep, state: RecoveryControl, tally: Tally, *, after_outage: bool) -> str:
    if after_outage:
        return "No sweep had finished for long: staleness counts from now, as workers may not have been able to beat."
    if row.mode == Sweep.Mode.OBSERVE:
        return "Recovery only observes; nothing was changed."
    if row.mode == Sweep.Mode.PAUSED:
        return "Recovery is paused; nothing was changed."
    if row.mode == Sweep.Mode.HELD:
        return f"Mass staleness: held until {state.hold_until:%H:%M:%S %Z} or an operator's decision."
    if tally.full:
        return f"Stopped at {settings.OPSCONSOLE_SWEEP_LIMIT} recovered runs; the next sweep goes on."
    return ""


class Tally:
    """What one sweep found and did."""

    def __init__(self) -> None:
        self.found = 0
        self.errors = 0
        self.done: Counter[Action] = Counter()
        self.lines: list[str] = []

    @property
    def full(self) -> bool:
        recovered = self.done[Action.REQUEUE] + self.done[Action.QUARANTINE]
        return recovered >= settings.OPSCONSOLE_SWEEP_LIMIT

    def skip(self, decision: Decision, sentence: str) -> None:
        self.done[Action.SKIP] += 1
        self.say(f"{decision.job_id} skipped: {sentence}")

    def fail(self, decision: Decision, error: DatabaseError) -> None:
        self.errors += 1
        sentence = str(error).strip().partition("\n")[0]
        logger.error("Run %s of job %s can't be recovered: %s", decision.epoch, decision.job_id, sentence)
        self.say(f"{decision.job_id} failed: {sentence}")

    def say(self, line: str) -> None:
        if len(self.lines) < DETAILS_KEPT:
            self.lines.append(line)


def _observe(state: RecoveryControl) -> Tally:
    tally = Tally()
    tally.found = Job.objects.stale().count()
    return tally


def _recover(policy: Policy) -> Tally:
    tally = Tally()
    cursor: tuple[datetime, UUID] | None = None
    while not tally.full:
        with transaction.atomic():
            page = _lock_page(cursor)
            if not page:
                break
            _settle([decide(job, policy) for job in page], tally)
        cursor = page[-1].updated_at, page[-1].pk
    return tally


def _lock_page(cursor: tuple[datetime, UUID] | None) -> list[Job]:
    """Statement one: the next stale runs that no other rescuer, worker or operator holds."""
    stale = Job.objects.stale().only(*READ_OF_A_JOB).order_by("updated_at", "pk")
    if cursor:
        stale = stale.after(*cursor)
    return list(
        stale.select_for_update(skip_locked=True, of=("self",))[: settings.OPSCONSOLE_SWEEP_PAGE_SIZE]
    )


def _settle(decisions: Sequence[Decision], tally: Tally) -> None:
    """Statement two, for each kind of decision: look again and write."""
    tally.found += len(decisions)
    for decision in decisions:
        if decision.action == Action.SKIP:
            tally.skip(decision, decision.sentence)
    for action, write in ((Action.REQUEUE, rescue.requeue), (Action.QUARANTINE, rescue.quarantine)):
        chosen = [decision for decision in decisions if decision.action == action]
        for part in _parts_that_can_be_written(chosen, write, tally):
            tally.done[action] += len(part)


def _parts_that_can_be_written(chosen: Sequence[Decision], write: Any, tally: Tally) -> Iterator[set[UUID]]:
    """Write all at once; when the database refuses, halve, so that a row that can't be written fails alone."""
    if not chosen:
        return
    try:
        with transaction.atomic():
            written = write(chosen)
    except DatabaseError as error:
        if len(chosen) == 1:
            tally.fail(chosen[0], error)
            return
        middle = len(chosen) // 2
        yield from _parts_that_can_be_written(chosen[:middle], write, tally)
        yield from _parts_that_can_be_written(chosen[middle:], write, tally)
        return
    for decision in chosen:
        if decision.job_id not in written:
            tally.skip(decision, "Its worker beat, or it ended, a moment ago.")
    yield written
