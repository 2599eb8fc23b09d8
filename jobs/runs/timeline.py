"""The timeline of a job: every change writes its event in the same transaction (I10)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from jobs.models import JobEvent
from opsconsole.kit.storable import plain_text
from opsconsole_worker.runs import run_log
from opsconsole_worker.runs.heartbeats import actor_name

BATCH = 1_000


@dataclass(frozen=True)
class Actor:
    """A person or process that changes a job; ``user_id`` is set for people only."""

    name: str
    user_id: int | None = None

    @classmethod
    def worker(cls, worker_id: str) -> Actor:
        return cls(actor_name(worker_id))

    @classmethod
    def operator(cls, username: str, user_id: int | None) -> Actor:
        return cls(f"operator:{plain_text(username)}", user_id)


SWEEP = Actor("sweep")
CONSOLE = Actor("console")
EXTERNAL_REDRIVE = Actor("external redrive")


def event(
    job_id: UUID,
    kind: JobEvent.Kind,
    *,
    run_epoch: int | None,
    actor: Actor,
    reason: str = "",
    details: Mapping[str, Any] | None = None,
) -> JobEvent:
    """Return an event of the timeline that is not yet saved."""
    return JobEvent(
        job_id=job_id,
        kind=kind,
        run_epoch=run_epoch,
        actor=actor.name,
        user_id=actor.user_id,
        reason=reason,
        details=dict(details or {}),
    )


def record(
    job_id: UUID,
    kind: JobEvent.Kind,
    *,
    run_epoch: int | None,
    actor: Actor,
    reason: str = "",
    details: Mapping[str, Any] | None = None,
) -> None:
    """Write one event."""
    record_all([event(job_id, kind, run_epoch=run_epoch, actor=actor, reason=reason, details=details)])


def record_all(events: Iterable[JobEvent]) -> None:
    """Write many events at once."""
    for each in JobEvent.objects.bulk_create(events, batch_size=BATCH):
        log(JobEvent.Kind(each.kind), each.job_id, each.run_epoch, actor=each.actor)


def log(kind: JobEvent.Kind, job_id: UUID, run_epoch: int | None, **facts: Any) -> None:
    """Write the line of an event to the log; statements that write events themselves call it afterwards."""
    run_log.event(kind.value, job_id, run_epoch, **facts)
