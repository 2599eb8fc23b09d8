"""``worker_heartbeats``: one row per worker or worker slot, written by workers in any language."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Self
from uuid import UUID

from django.apps import apps
from django.conf import settings
from django.db import models
from django.db.models import Case, Count, Exists, ExpressionWrapper, F, OuterRef, Q, Value, When
from django.db.models.expressions import Combinable, RawSQL
from django.db.models.functions import Coalesce, Now
from django.db.models.lookups import IsNull

from jobs.models.columns import HEARTBEATS, JOBS, column, renamed
from jobs.models.earlier_beats import LastOfProcesses
from jobs.models.worker_observation import CountedBeat
from opsconsole.kit import job_ids, mapping
from opsconsole.kit.bounded_columns import BoundedDocument, BoundedName
from opsconsole.kit.mapped_fields import fit
from opsconsole.kit.mapping import BEATS, WORKER_BEATS
from opsconsole.kit.postgresql.timestamps import calculable

SILENT_AFTER_BEATS = 3
# A worker whose last heartbeat is older than this when its run changes works without heartbeats: that they stopped proves nothing.
BEATS_BEFORE_RUN = timedelta(days=1)
# Workers without epochs that sent a heartbeat within this time may come back: they count as in use.
OLD_KIND_SEEN_WITHIN = timedelta(days=1)


class Life(models.TextChoices):
    """Whether a worker sends heartbeats. The run of a dead worker counts as stale; of an ended one, nothing is left to do.

    Whether an ended one was stopped or killed is unknown: its last run may as well have been given to another worker.
    """

    ALIVE = "alive"
    SILENT = "silent"
    DEAD = "dead"
    ENDED = "ended", "No longer seen"


class WorkerHeartbeatQuerySet(models.QuerySet["WorkerHeartbeat"]):
    def of_run(
        self,
        job_id: UUID | Combinable,
        run_epoch: int | Combinable,
        claimed_epoch: int | Combinable,
        worker_id: str | Combinable | None = None,
        changed_at: Combinable | None = None,
    ) -> Self:
        """Return heartbeats that count for a run: those of its epoch.

        If the run was not claimed with our protocol, heartbeats without an epoch count too; and where heartbeats name no jobs,
        those of the worker that the row names, unless they stopped long before the row last changed.
        """
        without_epoch = Q(IsNull(claimed_epoch, rhs=True), current_run_epoch__isnull=True)
        of_run = Q(Q(current_run_epoch=run_epoch) | without_epoch, current_job_id=job_id)
        if JOBS.life.told_by == WORKER_BEATS and worker_id is not None and changed_at is not None:
            since = ExpressionWrapper(calculable(changed_at) - _before_run(), models.DateTimeField())
            of_run |= Q(IsNull(claimed_epoch, rhs=True), worker_id=worker_id, last_heartbeat__gte=since)
        return self.filter(of_run)

    def of_run_in_statement(self, job: str) -> Self:
        """Return the same condition for a handwritten statement in which ``job`` names the run's row."""
        names = ("id", "run_epoch", "claimed_epoch", "worker_id", "updated_at")
        return self.of_run(*(_column(job, name) for name in names))

    def last_of_processes(
        self, worker_id: str | Combinable, job_id: UUID | Combinable, run_epoch: int | Combinable
    ) -> models.QuerySet[WorkerHeartbeat, Any]:
        """Return, as the column ``last``, when a process of this id that ever named the run last sent a heartbeat."""
        return self.filter(worker_id=worker_id).values(last=LastOfProcesses(job_id, run_epoch))[:1]

    def last_of_processes_in_statement(self, job: str) -> models.QuerySet[WorkerHeartbeat, Any]:
        """Return the same for a handwritten statement in which ``job`` names the run's row."""
        return self.last_of_processes(*(_column(job, name) for name in ("worker_id", "id", "run_epoch")))

    def with_counted_beat(self) -> Self:
        """Annotate ``counted_at``: when the last heartbeat was sent, as far as the worker's clock can be believed."""
        return self.annotate(counted_at=CountedBeat())

    def beating(self, within: timedelta) -> Self:
        """Return workers that sent a heartbeat within this time, by the database's clock."""
        return self.with_counted_beat().filter(counted_at__gte=Now() - within)

    def alive(self) -> Self:
        return self.beating(silent_after())

    def silent(self) -> Self:
        """Return workers that missed a few heartbeats but have not reached the threshold at which runs become stale."""
        return self.beating(stale_after()).filter(counted_at__lt=Now() - silent_after())

    def dead(self) -> Self:
        return self.silent_for(stale_after()).with_end_of_run().filter(run_is_over=False)

    def ended(self) -> Self:
        """Return workers that fell silent long ago and whose last run is over, so that nothing of theirs is left to do."""
        return self.silent_for(stale_after()).with_end_of_run().filter(run_is_over=True)

    def with_end_of_run(self) -> Self:
        """Annotate ``run_is_over``: the heartbeat names a run, and that run has ended or was given to another worker."""
        same_run = Q(run_epoch=Coalesce(OuterRef("current_run_epoch"), F("run_epoch")))
        open_run = (
            apps.get_model("jobs", "Job").objects.running().filter(same_run, pk=OuterRef("current_job_id"))
        )
        over = When(Q(current_job_id__isnull=False) & ~Exists(open_run), then=True)
        return self.annotate(run_is_over=Case(over, default=False, output_field=models.BooleanField()))

    def worst_first(self) -> Self:
        """Order by what needs somebody: dead workers, then silent, alive and ended ones, each by their newest heartbeat."""
        lost, quiet = Q(counted_at__lt=Now() - stale_after()), Q(counted_at__lt=Now() - silent_after())
        ranks = (When(lost & Q(run_is_over=True), then=3), When(lost, then=0), When(quiet, then=1))
        rank = Case(*ranks, default=2, output_field=models.IntegerField())
        ranked = self.with_counted_beat().with_end_of_run().annotate(trouble_rank=rank)
        return ranked.order_by("trouble_rank", "-last_heartbeat", "worker_id")

    def silent_for(self, time: timedelta) -> Self:
        """Return workers that sent no heartbeat for at least this time."""
        return self.with_counted_beat().filter(counted_at__lt=Now() - time)

    def counted(self) -> dict[str, int]:
        """Count ``alive``, ``silent`` and ``dead`` workers in one query."""
        return self.of_numbers(self.numbers())

    @staticmethod
    def of_numbers(rows: Iterable[tuple[int, int, int]]) -> dict[str, int]:
        """Return the counts, given what ``numbers()`` reads."""
        return dict(zip(("alive", "silent", "dead"), next(iter(rows), (0, 0, 0)), strict=True))

    def numbers(self) -> models.QuerySet[WorkerHeartbeat, tuple[int, int, int]]:
        """Return the numbers of alive, silent and dead workers as one row, or none if there are no workers."""
        heard, lost = (
            Q(counted_at__gte=Now() - silent_after()),
            Q(counted_at__lt=Now() - stale_after()),
        )
        return (
            self.with_counted_beat()
            .with_end_of_run()
            .order_by()
            .values(all_of_them=Value(1))
            .annotate(
                alive=Count("pk", filter=heard),
                silent=Count("pk", filter=~heard & ~lost),
                dead=Count("pk", filter=lost & Q(run_is_over=False)),
            )
            .values_list("alive", "silent", "dead")
        )

    def without_epochs(self) -> Self:
        """Return workers without our protocol, which never name an epoch."""
        return self.filter(current_run_epoch__isnull=True).exclude(metadata__has_key="protocol")

    def old_kind_in_use(self) -> Self:
        """Return workers without epochs that sent a heartbeat recently: for them a second message may cause a second run."""
        return self.beating(OLD_KIND_SEEN_WITHIN).without_epochs()


def _before_run() -> RawSQL:
    """Return ``BEATS_BEFORE_RUN`` for a query without parameters."""
    seconds = BEATS_BEFORE_RUN.total_seconds()
    return RawSQL(f"interval '{seconds:g} s'", (), models.DurationField())  # noqa: S611 - a constant


def _column(job: str, name: str) -> RawSQL:
    """Return a column of the statement around a query, in which ``job`` names the run's row."""
    return RawSQL(JOBS.read(name, job), ())  # noqa: S611 - the name is trusted


def stale_after() -> timedelta:
    return timedelta(seconds=settings.OPSCONSOLE_STALE_AFTER_SECONDS)


def workers_are_seen() -> bool:
    """Tell whether workers of every kind send heartbeats here. Others may be alive and unseen."""
    return JOBS.life.told_by in {BEATS, WORKER_BEATS} and not HEARTBEATS.absent


def silent_after() -> timedelta:
    """Return the time of three missed heartbeats, at most half the stale threshold."""
    beats = timedelta(seconds=settings.OPSCONSOLE_BEAT_INTERVAL_SECONDS * SILENT_AFTER_BEATS)
    return min(beats, stale_after() / 2)


class WorkerHeartbeat(models.Model):
    worker_id = fit(
        "worker_heartbeats",
        "worker_id",
        BoundedName(primary_key=True, db_column=renamed("worker_heartbeats.worker_id")),
    )
    current_job_id = job_ids.reference(
        db_column=renamed("worker_heartbeats.current_job_id"), null=True, blank=True
    )
    last_heartbeat = fit(
        "worker_heartbeats",
        "last_heartbeat",
        models.DateTimeField(db_column=column("worker_heartbeats.last_heartbeat"), db_default=Now()),
    )

    current_run_epoch = models.IntegerField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    hostname = BoundedName(null=True, blank=True)
    pid = models.IntegerField(null=True, blank=True)
    metadata = BoundedDocument(db_default={}, blank=True)

    objects = WorkerHeartbeatQuerySet.as_manager()

    class Meta:
        db_table = mapping.current().worker_heartbeats.sql
        verbose_name = "worker"
        indexes = [
            models.Index(
                fields=["current_job_id"],
                name="opsconsole_heartbeats_job_idx",
                condition=Q(current_job_id__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.worker_id

    def life(self, now: datetime) -> Life:
        """Tell whether the worker is alive, by the database's clock and the same rule as the QuerySet.

        The row must have been loaded by ``with_counted_beat()`` and ``with_end_of_run()``.
        """
        silence = now - self.counted_at  # type: ignore[attr-defined]  # an annotation
        if silence > stale_after():
            return Life.ENDED if self.run_is_over else Life.DEAD  # type: ignore[attr-defined]  # an annotation
        return Life.SILENT if silence > silent_after() else Life.ALIVE

    @property
    def is_of_old_kind(self) -> bool:
        """Tell whether the worker names no epoch, by the same rule as ``without_epochs()``."""
        # Other programs may write a text, a number or a list.
        keys = self.metadata if isinstance(self.metadata, dict | list) else [self.metadata]
        return self.current_run_epoch is None and "protocol" not in keys
