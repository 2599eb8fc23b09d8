"""The timeline of a job: every change writes its event in the same transaction (I10)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from psycopg.types.json import Jsonb

from jobs.models import JobEvent
from jobs.models.columns import JOBS
from opsconsole.kit import activity
from opsconsole.kit.postgresql.binary_values import insert_lists
from opsconsole.kit.storable import json_text, plain_text
from opsconsole_worker.runs import run_log
from opsconsole_worker.runs.heartbeats import actor_name

_INSERT = f"""
INSERT INTO job_events (job_id, kind, run_epoch, actor, user_id, reason, details)
SELECT * FROM unnest(%(job_ids)b::{JOBS.id_type}[], %(kinds)b::text[], %(run_epochs)b::int[], %(actors)b::text[],
                     %(user_ids)b::int[], %(reasons)b::text[], %(details)b::jsonb[])
"""  # noqa: S608 - the name of a type, from the mapping


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


class NewEvent(NamedTuple):
    """An event that is not yet written. The database gives it its time."""

    job_id: UUID
    kind: JobEvent.Kind
    run_epoch: int | None
    actor: Actor
    reason: str = ""
    details: Mapping[str, Any] = {}


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
    record_all([NewEvent(job_id, kind, run_epoch, actor, reason, details or {})])


def record_all(events: Sequence[NewEvent]) -> None:
    """Write many events at once, in their order."""
    insert_lists(_INSERT, events, _lists)
    by_kind: dict[tuple[JobEvent.Kind, str], list[dict[str, Any]]] = defaultdict(list)
    for each in events:
        by_kind[each.kind, each.actor.name].append({"job": each.job_id, "run": each.run_epoch})
    for (kind, actor), rows in by_kind.items():
        log_each(kind, rows, actor=actor)


def _lists(events: Sequence[NewEvent]) -> dict[str, Any]:
    return {
        "job_ids": [each.job_id for each in events],
        "kinds": [each.kind.value for each in events],
        "run_epochs": [each.run_epoch for each in events],
        "actors": [each.actor.name for each in events],
        "user_ids": [each.actor.user_id for each in events],
        "reasons": [each.reason for each in events],
        "details": [Jsonb(each.details, dumps=json_text) for each in events],
    }


def log_each(kind: JobEvent.Kind, rows: Sequence[Mapping[str, Any]], **shared: Any) -> None:
    """Tell the log of events of one kind; statements that write events themselves call it afterwards.

    Each row has the facts that are its own: ``job``, ``run`` and others.
    """
    activity.done_to_each(run_log.words(kind.value), rows, level=run_log.level(kind.value), **shared)
