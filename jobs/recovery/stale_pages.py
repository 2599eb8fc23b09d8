"""Statement one of a recovery: find the next page of stale runs, and lock those that nobody else has locked (I3).

The page and what a decision needs are read first, then locked, so that runs that others hold are part of the page: they
are passed over, counted and told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import DataError, connection, transaction
from django.db.backends.utils import CursorWrapper

from jobs.models import Job, Status, WorkerHeartbeat, evidence_of_death
from jobs.models.columns import JOBS
from jobs.models.hidden_rows import hidden_from_changes
from jobs.models.staleness import last_seen_of
from jobs.models.worker_observation import CountedBeat
from opsconsole.kit import job_ids
from opsconsole.kit.postgresql.binary_values import binary_cursor
from opsconsole.kit.row_locks import if_free_in_statement, locked_if_free

# The end of a page, in the order (updated_at, id).
Place = tuple[datetime, UUID]
BEGINNING: Place = (datetime.min.replace(tzinfo=UTC), job_ids.BEFORE_ALL)

# The candidates come in order, and a filter keeps it: sorting once more here would hide the limit from the planner, which
# then reads the evidence of all candidates. A run that changed after the page was read is not locked either.
_PAGE = """
WITH page ({columns}) AS MATERIALIZED (
    SELECT * FROM (SELECT * FROM ({candidates}) AS candidate ({columns})
                    WHERE (updated_at, pk) > (%s, %s)
                    ORDER BY updated_at, pk
                   OFFSET 0) AS run
     WHERE {stale}
     LIMIT %s
), held AS (
    SELECT job.id
      FROM {jobs} AS job
      JOIN page ON job.id = page.pk AND job.run_epoch = page.run_epoch AND job.updated_at = page.updated_at
     WHERE {is_running}
       {job_if_free}
)
SELECT pk IN (SELECT id FROM held), page.* FROM page ORDER BY updated_at, pk
"""


class StaleRun(NamedTuple):
    """A stale run as ``jobs.recovery.decision.decide`` needs it. Not a model: a page has 500 runs, and payloads can be large."""

    pk: UUID
    queue: str
    worker_id: str | None
    run_epoch: int
    claimed_epoch: int | None
    recent_recoveries: int
    failed_deliveries: int
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


@dataclass(frozen=True)
class Page:
    """A page of stale runs: ``held`` are locked by this transaction, ``passed_over`` by others.

    ``hidden`` are kept from any lock by a policy. ``changed`` are no longer stale: a worker or somebody else was quicker.
    """

    held: list[StaleRun] = field(default_factory=list)
    passed_over: list[StaleRun] = field(default_factory=list)
    hidden: list[StaleRun] = field(default_factory=list)
    changed: list[StaleRun] = field(default_factory=list)
    end: Place | None = None

    @property
    def size(self) -> int:
        return len(self.held) + len(self.passed_over) + len(self.hidden) + len(self.changed)

    @classmethod
    def of(cls, runs: Sequence[StaleRun], held_ids: set[UUID]) -> Page:
        """Sort the runs of a page by who holds them."""
        held = [run for run in runs if run.pk in held_ids]
        others = [run for run in runs if run.pk not in held_ids]
        still_stale = _still_stale(others) if others else set()
        hidden = hidden_from_changes(still_stale)
        return cls(
            held=_with_beats_of_workers(held),
            passed_over=[run for run in others if run.pk in still_stale - hidden],
            hidden=[run for run in others if run.pk in hidden],
            changed=[run for run in others if run.pk not in still_stale],
            end=runs[-1].place if runs else None,
        )


def _still_stale(runs: Sequence[StaleRun]) -> set[UUID]:
    """Return which of these are stale on a newer snapshot. The others were not passed over: they have changed."""
    still = Job.objects.stale().filter(pk__in=[run.pk for run in runs]).order_by()
    return set(still.values_list("pk", flat=True))


class StaleRuns:
    """The stale runs of one sweep, page by page, those waiting longest first.

    The SQL is built once, because building takes Django as long as finding a page takes the server.
    """

    def __init__(self) -> None:
        columns = [name for name in StaleRun._fields if name not in StaleRun._field_defaults]
        candidates = Job.objects.old_enough().with_evidence().order_by().values_list(*columns)
        statement, self._parameters = candidates.query.sql_with_params()
        self._statement = _PAGE.format(
            jobs=JOBS.rows,
            is_running=JOBS.is_status(Status.IN_PROGRESS, of="job"),
            columns=", ".join(columns),
            candidates=statement,
            stale=evidence_of_death.STALE_IN_STATEMENT,
            job_if_free=if_free_in_statement(of="job"),
        )

    def lock(self, size: int, behind: Place) -> Page:
        """Read the next ``size`` runs after this place, and lock those that are free."""
        try:
            rows = self._read(binary_cursor(), size, behind)
        except DataError:
            # A time that Python can't hold, which only Django's own cursor bounds.
            rows = self._read(connection.cursor(), size, behind)
        runs = [StaleRun(*values) for _, *values in rows]
        return Page.of(runs, {run.pk for run, (held, *_) in zip(runs, rows, strict=True) if held})

    def _read(self, cursor: CursorWrapper, size: int, behind: Place) -> list[tuple[Any, ...]]:
        with cursor:
            cursor.execute(self._statement, [*self._parameters, *behind, size])
            return list(cursor.fetchall())


def lock_again(runs: Sequence[StaleRun]) -> Page:
    """Lock these runs of a page whose transaction failed and released its locks."""
    jobs = Job.objects.filter(pk__in=[run.pk for run in runs]).order_by("updated_at", "pk")
    return Page.of(runs, set(locked_if_free(jobs).values_list("pk", flat=True)))


def not_to_be_locked(job_ids: Sequence[UUID]) -> tuple[frozenset[UUID], frozenset[UUID]]:
    """Return which of these jobs others have locked, and which a policy hides from changes.

    The free ones are locked for a moment only.
    """
    jobs = Job.objects.filter(pk__in=job_ids)
    with transaction.atomic():
        free = set(locked_if_free(jobs).values_list("pk", flat=True))
        others = frozenset(jobs.exclude(pk__in=free).values_list("pk", flat=True))
        hidden = hidden_from_changes(others)
        transaction.set_rollback(True)
    return others - hidden, hidden


def _with_beats_of_workers(runs: list[StaleRun]) -> list[StaleRun]:
    """Add the heartbeats of workers to the few runs without one of their own, because they tell why such runs are silent."""
    workers = {run.worker_id for run in runs if run.beat_at is None and run.worker_id}
    if not workers:
        return runs
    beats = dict(WorkerHeartbeat.objects.filter(pk__in=workers).values_list("pk", CountedBeat()))
    return [
        run if run.beat_at else run._replace(worker_beat_at=beats.get(run.worker_id or "")) for run in runs
    ]
