"""Statement one of a recovery: lock the next page of stale runs, and read what a decision needs (I3)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from jobs.models import Job, Status, WorkerHeartbeat
from jobs.models.staleness import last_seen_of
from jobs.models.worker_observation import CountedBeat
from jobs.recovery.binary_values import binary_cursor
from opsconsole.kit.row_locks import locked_if_free

# The end of a page, in the order (updated_at, id).
Place = tuple[datetime, UUID]
BEGINNING: Place = (datetime.min.replace(tzinfo=UTC), UUID(int=0))


class StaleRun(NamedTuple):
    """A stale run as ``jobs.recovery.decision.decide`` needs it. Not a model: a page has 500 runs, and payloads can be large."""

    pk: UUID
    queue: str
    worker_id: str | None
    run_epoch: int
    recent_recoveries: int
    updated_at: datetime
    started_at: datetime | None
    beat_at: datetime | None
    outage_ended_at: datetime | None
    stale_before: datetime
    death_proven: bool
    given_up_before: datetime | None
    read_at: datetime
    worker_beat_at: datetime | None = None
    # The same for every stale run, or not needed: these are not read.
    status: Status = Status.IN_PROGRESS
    deadline_at: datetime | None = None

    @property
    def last_seen(self) -> datetime:
        """Return the same as ``with_evidence()``, without making the database look for the heartbeat again."""
        return last_seen_of(self)

    @property
    def place(self) -> Place:
        return self.updated_at, self.pk


class StaleRuns:
    """Pages of stale runs, those waiting longest first.

    The SQL is built once, because building takes Django as long as finding a page takes the server.
    """

    def __init__(self) -> None:
        runs = Job.objects.stale().after(*BEGINNING).order_by("updated_at", "pk")
        read = [name for name in StaleRun._fields if name not in StaleRun._field_defaults]
        self._runs = locked_if_free(runs, of=("self",)).values_list(*read)
        self._built: dict[int, tuple[str, tuple[Any, ...]]] = {}

    def lock(self, size: int, behind: Place) -> list[StaleRun]:
        """Lock at most ``size`` runs after this place that no other sweep, worker or operator has locked."""
        if size not in self._built:
            self._built[size] = self._runs[:size].query.sql_with_params()
        statement, parameters = self._built[size]
        from_here: dict[Any, Any] = dict(zip(BEGINNING, behind, strict=True))
        with binary_cursor() as cursor:
            cursor.execute(statement, [from_here.get(value, value) for value in parameters])
            return _with_beats_of_workers([StaleRun(*row) for row in cursor.fetchall()])


def held_again(page: Sequence[StaleRun]) -> list[StaleRun]:
    """Lock the runs of a page again after its transaction failed; return those that could be locked."""
    jobs = Job.objects.filter(pk__in=[run.pk for run in page]).order_by("updated_at", "pk")
    held = set(locked_if_free(jobs).values_list("pk", flat=True))
    return [run for run in page if run.pk in held]


def _with_beats_of_workers(page: list[StaleRun]) -> list[StaleRun]:
    """Add the heartbeats of workers to the few runs without one of their own, because they tell why such runs are silent."""
    workers = {run.worker_id for run in page if run.beat_at is None and run.worker_id}
    if not workers:
        return page
    beats = dict(WorkerHeartbeat.objects.filter(pk__in=workers).values_list("pk", CountedBeat()))
    return [
        run if run.beat_at else run._replace(worker_beat_at=beats.get(run.worker_id or "")) for run in page
    ]
