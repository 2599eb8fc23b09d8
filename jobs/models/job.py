"""``jobs``: the contract table, with its QuerySet."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from functools import partial
from typing import Self, TypeAlias

from django.db import models
from django.db.models import (
    DateTimeField,
    ExpressionWrapper,
    F,
    FilteredRelation,
    Func,
    OuterRef,
    Q,
    Subquery,
    Value,
)
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce, Greatest, Now
from django.db.models.lookups import GreaterThan
from django_stubs_ext import WithAnnotations

from jobs.models import evidence_of_death, staleness
from jobs.models.annotations import EvidenceColumns, LifeColumns, MessageColumns
from jobs.models.columns import JOBS, ContractNumber, ContractText, column, renamed
from jobs.models.control import RecoveryControl
from jobs.models.dead_letter import failed_deliveries
from jobs.models.event import recent_recoveries
from jobs.models.mapped_queue import QueueField
from jobs.models.outbox import MOST_RESENDS, Outbox, unsent
from jobs.models.row_beat import RowBeat
from jobs.models.status_words import StatusField
from jobs.models.waiting_message import (
    MessageTrouble,
    lost_after,
    message_trouble,
    message_was_sent,
    patience,
    unclaimed,
)
from jobs.models.waiting_since import SINCE
from jobs.models.worker import WorkerHeartbeat, stale_after
from jobs.models.worker_observation import CountedBeat
from opsconsole.kit import job_ids, mapping
from opsconsole.kit.bounded_columns import BoundedDocument, BoundedName, BoundedText
from opsconsole.kit.mapped_fields import fit


class Status(models.TextChoices):
    """The statuses that the console knows. Others are shown unchanged and left alone."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    QUARANTINED = "quarantined"
    CANCELLED = "cancelled"


UNKNOWN_CUSTOMER = "unknown customer"


class JobQuerySet(models.QuerySet["Job"]):
    def running(self) -> Self:
        return self.filter(status=Status.IN_PROGRESS)

    def waiting(self) -> Self:
        return self.filter(status=Status.PENDING)

    def startable(self) -> Self:
        """Return waiting jobs that a worker could claim now. ``jobs.intake.waits`` finds them beside many that are scheduled."""
        return self.waiting().filter(Q(not_before=None) | Q(not_before__lte=Now()))

    def waiting_for(self, least: timedelta) -> Self:
        """Return the jobs that a worker could have claimed for at least this long."""
        return self.waiting().alias(since=SINCE).filter(since__lte=Now() - least)

    def scheduled(self) -> Self:
        """Return waiting jobs that may not start yet; see ``Job.is_scheduled``."""
        return self.waiting().filter(not_before__gt=Now())

    def failed_within_a_day(self) -> Self:
        """Return the jobs that failed in the last 24 hours, as far as they were created within a week.

        The second limit keeps the scan of the index of failed jobs short, however many there are.
        """
        return self.filter(
            status=Status.FAILED,
            updated_at__gte=Now() - timedelta(days=1),
            created_at__gte=Now() - timedelta(days=7),
        )

    def with_evidence(self, cutoff: datetime | Combinable | None = None) -> JobQuerySet[JobWithEvidence]:
        """Annotate each run with the signs of its life, and with what counts towards quarantine.

        ``recent_recoveries`` and ``failed_deliveries``: a list that only shows runs does without, because they make PostgreSQL
        open every month of the timeline, whether or not a run needs them.
        """
        return self.with_signs_of_life(cutoff).annotate(
            recent_recoveries=recent_recoveries(), failed_deliveries=failed_deliveries()
        )

    def with_signs_of_life(self, cutoff: datetime | Combinable | None = None) -> JobQuerySet[JobWithLife]:
        """Annotate each run with what a diagnosis of its life reads; all times are by the database's clock.

        ``beat_at``: the last heartbeat that counts for this run, or the sign of life that its row has instead.
        ``worker_beat_at``: the last heartbeat of its worker, for any run. ``outage_ended_at``: no worker could send heartbeats
        before it. ``last_seen``: the latest sign of life.
        ``stale_before``: the run is silent when ``last_seen`` is before it. A silent run is stale when ``death_proven``, or
        when ``last_seen`` is before ``given_up_before`` (null: no rule gives such runs up).
        ``read_at``: when all this was read.
        """
        run = ("pk", "run_epoch", "claimed_epoch", "worker_id", "updated_at")
        beats = WorkerHeartbeat.objects.of_run(*map(OuterRef, run))
        own_worker = WorkerHeartbeat.objects.filter(worker_id=OuterRef("worker_id"))
        processes = WorkerHeartbeat.objects.last_of_processes(
            OuterRef("worker_id"), OuterRef("pk"), OuterRef("run_epoch")
        )
        outage_ended = RecoveryControl.objects.values("outage_ended_at")[:1]
        # A plain function: ``Max`` would add a GROUP BY, and sorting one or two heartbeats takes longer.
        last_beat = Func(CountedBeat(), function="max")
        last = Subquery(beats.annotate(last=last_beat).values("last"))
        # Only of few runs does anything read it, so no row has it as a column.
        return self.alias(processes_beat_at=Subquery(processes)).annotate(
            beat_at=Greatest(last, RowBeat()) if JOBS.life_at() else last,
            worker_beat_at=Subquery(own_worker.values(counted=CountedBeat())[:1]),
            outage_ended_at=Subquery(outage_ended),
            last_seen=staleness.last_seen(),
            stale_before=staleness.stale_before(cutoff),
            death_proven=evidence_of_death.proven(),
            given_up_before=evidence_of_death.given_up_before(),
            read_at=Now(),
        )

    def stale(self, cutoff: datetime | Combinable | None = None) -> JobQuerySet[JobWithEvidence]:
        """Return silent runs whose worker is dead by the evidence, or that an operator's rule gives up.

        The SQL function ``find_stale_jobs(threshold)`` gives the same answer.
        """
        return self.silent(cutoff).filter(evidence_of_death.is_sufficient())

    def unknown(self) -> JobQuerySet[JobWithEvidence]:
        """Return silent runs without evidence that their worker died, and that no rule gives up."""
        return self.silent_at_any_time().exclude(evidence_of_death.is_sufficient())

    def silent(self, cutoff: datetime | Combinable | None = None) -> JobQuerySet[JobWithEvidence]:
        """Return runs without a sign of life since ``cutoff`` (default: the configured threshold ago)."""
        return self.old_enough(cutoff).with_evidence(cutoff).filter(last_seen__lt=F("stale_before"))

    def old_enough(self, cutoff: datetime | Combinable | None = None) -> Self:
        """Return the runs that may be silent: PostgreSQL finds them by the index of running jobs, without the evidence."""
        return self.running().filter(updated_at__lt=staleness.cutoff_or_default(cutoff))

    def silent_at_any_time(self) -> JobQuerySet[JobWithEvidence]:
        """Return silent runs, and those without a sign of life whose row changed in the future. Sweeps leave these alone."""
        return self.possibly_silent().with_evidence().filter(last_seen__lt=F("stale_before"))

    def possibly_silent(self) -> Self:
        """Return the runs among which all silent, stale and unknown ones are: those whose row has not changed lately."""
        old = Q(updated_at__lt=staleness.cutoff_or_default(None))
        return self.running().filter(old | staleness.changed_in_the_future())

    def longest_unchanged(self) -> Self:
        """Return the one of these runs whose row has not changed for longest: whether there is one, by the index of running jobs.

        Without the order, PostgreSQL might look for one in the whole table, when it expects many.
        """
        return self.order_by("updated_at", "pk")[:1]

    def changed_in_the_future(self) -> Self:
        """Return running and waiting jobs whose last change is more than a minute ahead of the database's clock."""
        # One condition per partial index.
        ahead = staleness.changed_in_the_future()
        return self.filter(Q(ahead, status=Status.IN_PROGRESS) | Q(ahead, status=Status.PENDING))

    def stale_and_seen_since(self, moment: datetime) -> JobQuerySet[JobWithEvidence]:
        """Return stale runs whose last sign of life is not older than this."""
        # Until the threshold has passed since then there can be none, and PostgreSQL need not read the runs.
        may_be = GreaterThan(Now() - stale_after(), Value(moment, DateTimeField()))
        return self.stale().filter(may_be, last_seen__gte=moment)

    def begun_since(self, moment: datetime) -> Self:
        """Return runs that began at or after this, as recovery's cutoff counts it."""
        return self.alias(began=staleness.began()).filter(began__gte=moment)

    def begun_before(self, moment: datetime) -> Self:
        return self.alias(began=staleness.began()).filter(began__lt=moment)

    def hung(self) -> JobQuerySet[JobWithEvidence]:
        """Return runs past their deadline for which heartbeats still come. The end of an outage is no heartbeat."""
        return (
            self.running()
            .with_evidence()
            .alias(deadline=staleness.deadline())
            .filter(deadline__lt=Now(), beat_at__gte=F("stale_before"))
        )

    def unclaimed(self) -> JobQuerySet[JobWithMessage]:
        """Return pending jobs whose message was sent long ago and that nobody claimed: it may be lost (I2).

        The rows are annotated as by ``with_message()``.
        """
        # Implied by waiting_since, and found by the index, so that no message of a scheduled job is looked up.
        return self.waiting_for(lost_after()).with_message().filter(unclaimed())

    def sent_and_waiting(self) -> JobQuerySet[JobWithMessage]:
        """Return pending jobs whose message was sent and that may still be claimed: a queue should hold their messages."""
        return self.waiting().with_message().filter(message_was_sent(), resends__lt=MOST_RESENDS)

    def to_be_resent(self) -> JobQuerySet[JobWithMessage]:
        """Return the jobs of ``unclaimed()`` whose message may be re-sent once its loss is proven.

        The waiting time doubles with each re-send, and the number of re-sends is limited.
        """
        return self.unclaimed().filter(
            waiting_since__lt=ExpressionWrapper(Now() - patience(), DateTimeField()),
            resends__lt=MOST_RESENDS,
        )

    def with_trouble(self, trouble: MessageTrouble) -> JobQuerySet[JobWithMessage]:
        """Return pending jobs with this trouble, as ``with_message()`` names it; never ``LOST``, which needs a proof."""
        if trouble == MessageTrouble.UNPROVEN:
            return self.unclaimed().filter(resends__lt=MOST_RESENDS)
        # Few rows of a large outbox match, and partial indexes find them.
        if trouble == MessageTrouble.USED_UP:
            in_vain = Outbox.objects.filter(resends__gte=MOST_RESENDS)
            return self.unclaimed().filter(pk__in=in_vain.values("job_id"), resends__gte=MOST_RESENDS)
        in_outbox = Q(state=Outbox.State.REFUSED) if trouble == MessageTrouble.REFUSED else unsent()
        rows = Outbox.objects.filter(in_outbox, destination=Outbox.Destination.QUEUE)
        waiting = self.waiting().filter(pk__in=rows.values("job_id"))
        return waiting.with_message().filter(message_trouble=trouble)

    def with_message(self) -> JobQuerySet[JobWithMessage]:
        """Annotate what the outbox knows about the current run's message.

        ``message``: its row, when the console sent it, and ``message_state`` that row's. ``resends``: how often it was
        sent again.
        ``waiting_since``: since when a worker could have received it. ``message_trouble``: what is wrong with it.
        ``read_at``: when this was read.
        """
        current = Q(outbox__destination=Outbox.Destination.QUEUE, outbox__run_epoch=F("run_epoch"))
        # Never later than waiting_since, and in an index.
        return self.alias(since=SINCE).annotate(
            message=FilteredRelation("outbox", condition=current),
            message_state=F("message__state"),
            resends=Coalesce("message__resends", 0),
            waiting_since=Greatest("updated_at", "not_before", "message__sent_at"),
            message_trouble=message_trouble(waiting=Q(status=Status.PENDING)),
            read_at=Now(),
        )

    def after(self, updated_at: datetime, job_id: uuid.UUID) -> Self:
        """Return the rows after this one in the order (updated_at, id), for keyset pagination."""
        # Written so that the comparison that always holds bounds the index scan.
        behind = Q(updated_at__gt=updated_at) | Q(pk__gt=job_id)
        return self.filter(behind, updated_at__gte=updated_at)


_of = partial(fit, "jobs")


class Job(models.Model):
    id = job_ids.primary_key(db_column=renamed("jobs.id"))
    customer_id = _of("customer_id", ContractText(db_column=column("jobs.customer_id")))
    package_size = _of("package_size", ContractNumber(db_column=column("jobs.package_size")))
    priority_level = _of(
        "priority_level",
        ContractText("priority", db_column=column("jobs.priority_level"), db_default="starter"),
    )
    status = StatusField(db_column=renamed("jobs.status"), db_default=Status.PENDING)
    error_message = _of(
        "error_message", BoundedText(db_column=renamed("jobs.error_message"), null=True, blank=True)
    )
    created_at = _of(
        "created_at", models.DateTimeField(db_column=renamed("jobs.created_at"), db_default=Now())
    )
    updated_at = _of(
        "updated_at", models.DateTimeField(db_column=renamed("jobs.updated_at"), db_default=Now())
    )
    started_at = _of(
        "started_at", models.DateTimeField(db_column=renamed("jobs.started_at"), null=True, blank=True)
    )
    completed_at = _of(
        "completed_at", models.DateTimeField(db_column=renamed("jobs.completed_at"), null=True, blank=True)
    )

    queue = QueueField(db_default="default")
    run_epoch = models.IntegerField("epoch", db_default=1)
    claimed_epoch = models.IntegerField(null=True, blank=True)
    recovery_count = models.IntegerField("recoveries", db_default=0)
    attempts = models.IntegerField(db_default=0, help_text="Runs that ended in a reported failure.")
    not_before = models.DateTimeField(null=True, blank=True)
    deadline_at = models.DateTimeField(null=True, blank=True)
    worker_id = _of("worker_id", BoundedName("worker", null=True, blank=True))
    # Of the last claim: its epoch, a colon, and the API key or nothing (opsconsole_worker.runs.fence).
    claimed_by_key = BoundedName("claimed by key", null=True, blank=True)
    payload = BoundedDocument(db_default={}, blank=True)

    objects = JobQuerySet.as_manager()

    class Meta:
        db_table = mapping.current().jobs.sql
        ordering = ["-created_at", "-id"]
        permissions = [
            ("requeue_job", "Can requeue a job"),
            ("cancel_job", "Can cancel a job"),
            ("release_job", "Can release a job from quarantine"),
            ("edit_job", "Can edit the payload of a job"),
            ("enqueue_job", "Can enqueue a job"),
        ]
        indexes = [
            models.Index(
                fields=["updated_at", "id"],
                name="opsconsole_jobs_running_idx",
                condition=Q(status="in_progress"),
            ),
            models.Index(
                fields=["updated_at", "id"], name="opsconsole_jobs_waiting_idx", condition=Q(status="pending")
            ),
            models.Index(
                "queue", SINCE, "id", name="opsconsole_jobs_since_idx", condition=Q(status="pending")
            ),
            models.Index(
                fields=["queue", "not_before", "id"],
                name="opsconsole_jobs_later_idx",
                condition=Q(status="pending", not_before__isnull=False),
            ),
            models.Index(fields=["-created_at", "-id"], name="opsconsole_jobs_newest_idx"),
            models.Index(fields=["status", "-created_at", "-id"], name="opsconsole_jobs_status_idx"),
            models.Index(fields=["customer_id", "-created_at", "-id"], name="opsconsole_jobs_customer_idx"),
        ]

    def __str__(self) -> str:
        return str(self.pk)

    def is_scheduled(self, now: datetime) -> bool:
        """Tell whether it waits for its time rather than for a worker."""
        return self.status == Status.PENDING and self.not_before is not None and self.not_before > now

    @property
    def customer(self) -> str:
        """Return the customer's id as a person reads it: an existing column may hold null."""
        return self.customer_id or UNKNOWN_CUSTOMER


JobWithLife: TypeAlias = "WithAnnotations[Job, LifeColumns]"
JobWithEvidence: TypeAlias = "WithAnnotations[Job, EvidenceColumns]"
JobWithMessage: TypeAlias = "WithAnnotations[Job, MessageColumns]"
