"""``worker_observations``, ``queue_naming`` and ``measured_runs``: what the console has seen of workers and their heartbeats.

Workers write a heartbeat as they like: by a clock of their own, with one id for several processes, without naming a job.
``jobs.runs.observations`` looks at the heartbeats and writes these tables; no heartbeat costs a write.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import DateTimeField, F, Func, Q
from django.db.models.functions import Now
from django.db.models.sql.compiler import SQLCompiler

from opsconsole.kit import job_ids
from opsconsole.kit.bounded_columns import BoundedName

# A clock that differs from the database's by more than this is not believed.
CLOCK_TOLERANCE = timedelta(minutes=1)
TOLERANCE_IN_STATEMENT = f"interval '{CLOCK_TOLERANCE.total_seconds():g} s'"
# A worker id that several processes shared within this time counts as shared.
SHARED_FOR = timedelta(days=1)
# The ids of shared() for a handwritten statement.
SHARED_IN_STATEMENT = (
    "SELECT worker_id FROM worker_observations"  # noqa: S608 - the text of a constant
    f" WHERE shared_at > statement_timestamp() - interval '{SHARED_FOR.total_seconds():g} s'"
)
# The workers of a queue name their jobs when at least this share of so many of its runs were named.
NAMED_SHARE = 0.9
FEWEST_RUNS = 10

# When a heartbeat counts. A heartbeat that was there at the last look counts by its own time, or, where the clock of its
# worker is wrong, from when the console saw it. A later heartbeat of a wrong clock counts as seen now: a clock is wrong when
# it is known to be, when it is ahead, or when the heartbeat claims to be older than a look that did not find it.
# A migration repeats this for ``find_stale_jobs``.
_COUNTED_BEAT = """coalesce(
    (SELECT CASE WHEN seen.beat_at = {beat} THEN coalesce(seen.seen_at, {beat})
                 WHEN seen.seen_at IS NOT NULL
                      OR {beat} < (SELECT beats_looked_at FROM recovery_control) - {tolerance}
                 THEN statement_timestamp() END
       FROM worker_observations AS seen WHERE seen.worker_id = {worker}),
    CASE WHEN {beat} > statement_timestamp() + {tolerance} THEN statement_timestamp() ELSE {beat} END)"""


class CountedBeat(Func):
    """When the heartbeat of a row of ``worker_heartbeats`` counts, by the database's clock. Without parameters."""

    output_field = DateTimeField()

    def __init__(self) -> None:
        super().__init__(F("worker_id"), F("last_heartbeat"))

    def as_sql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, *_: Any, **__: Any
    ) -> tuple[str, tuple[str | int, ...]]:
        worker, beat = (compiler.compile(column)[0] for column in self.get_source_expressions())
        return _COUNTED_BEAT.format(worker=worker, beat=beat, tolerance=TOLERANCE_IN_STATEMENT), ()


class WorkerObservationQuerySet(models.QuerySet["WorkerObservation"]):
    def shared(self) -> WorkerObservationQuerySet:
        """Return worker ids that several processes, or several jobs at once, were seen to share lately."""
        return self.filter(shared_at__gt=Now() - SHARED_FOR)

    def clock_off(self) -> WorkerObservationQuerySet:
        """Return workers whose clock differs from the database's by more than a minute."""
        return self.filter(seen_at__isnull=False)


class WorkerObservation(models.Model):
    """A worker as the console saw it. ``seen_at`` is set only while the worker's clock is wrong."""

    worker_id = BoundedName(primary_key=True)
    beat_at = models.DateTimeField(
        null=True, help_text="The last recorded heartbeat, as its worker wrote it."
    )
    seen_at = models.DateTimeField(
        null=True, help_text="When that heartbeat was sent, by the database's clock."
    )
    clock_offset = models.DurationField(
        null=True, help_text="How far the worker's clock is ahead of the database's."
    )
    process = BoundedName(db_default="", help_text="Host, pid and start time of the last heartbeat.")
    process_before = BoundedName(null=True)
    shared_at = models.DateTimeField(
        null=True, help_text="When its id was last seen to serve several processes or jobs at once."
    )

    objects = WorkerObservationQuerySet.as_manager()

    class Meta:
        db_table = "worker_observations"
        default_permissions = ()
        indexes = [
            models.Index(
                fields=["shared_at"],
                name="worker_observations_shared_idx",
                condition=Q(shared_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.worker_id


class QueueNamingQuerySet(models.QuerySet["QueueNaming"]):
    def naming(self) -> QueueNamingQuerySet:
        """Return queues whose workers normally name their jobs."""
        return self.filter(seen__gte=FEWEST_RUNS, named__gte=F("seen") * NAMED_SHARE)


class QueueNaming(models.Model):
    """How many runs of a queue that were not claimed by our protocol were seen, and how many a heartbeat ever named."""

    queue = BoundedName(primary_key=True)
    seen = models.FloatField(db_default=0)
    named = models.FloatField(db_default=0)
    measured_at = models.DateTimeField(db_default=Now())

    objects = QueueNamingQuerySet.as_manager()

    class Meta:
        db_table = "queue_naming"
        default_permissions = ()

    def __str__(self) -> str:
        return self.queue

    @property
    def names_its_jobs(self) -> bool:
        """Tell whether the queue's workers normally name their jobs, by the same rule as ``naming()``."""
        return self.seen >= FEWEST_RUNS and self.named >= self.seen * NAMED_SHARE


class MeasuredRun(models.Model):
    """A run that counts in ``queue_naming``: once, however long it lasts or lies dead. ``named``: a heartbeat has named it."""

    job_id = job_ids.reference(primary_key=True)
    run_epoch = models.IntegerField()
    named = models.BooleanField()

    class Meta:
        db_table = "measured_runs"
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.pk)
