"""``job_events``: the timeline of each job. Append-only: a trigger refuses UPDATE and DELETE (I10)."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import Case, F, Func, OuterRef, Q, Subquery, When
from django.db.models.functions import Coalesce, Greatest, Now

from opsconsole.kit.bounded_columns import BoundedDocument, BoundedName, BoundedText

# What became of runs otherwise than as planned: few events, of which figures and lists ask for those of a day.
RARE_KINDS = ("cancelled", "claim_refused", "quarantined", "recovered", "released", "requeued")
# In the details of a person's operation: the run was stale when it was taken from its worker.
LOST_WORKER = "lost_worker"


def recent_recoveries(*, exact: bool = False) -> Case:
    """Return, as an expression on ``jobs``, how many recoveries count towards quarantine: those within the window.

    ``recovery_count`` has all since the job was last released. The events before the window are read only where that
    many could matter, unless the number must be ``exact``.
    """
    events = JobEvent.objects.filter(job_id=OuterRef("pk")).order_by()
    last_reset = Subquery(resets_of("job_id").annotate(last=Func("pk", function="max")).values("last"))
    expired = events.filter(
        kind=JobEvent.Kind.RECOVERED,
        at__lt=Now() - recovery_window(),
        details__counted=True,
        pk__gt=Coalesce(last_reset, 0),
    )
    number = Subquery(expired.annotate(number=Func("pk", function="count")).values("number"))
    return Case(
        When(recovery_count__lt=1 if exact else settings.OPSCONSOLE_MAX_RECOVERIES, then=F("recovery_count")),
        default=Greatest(0, F("recovery_count") - number),
        output_field=models.IntegerField(),
    )


def resets_of(job: str) -> models.QuerySet[JobEvent]:
    """Return the events since which recoveries of a job count anew; ``job`` names its key in the query around."""
    resets = Q(kind=JobEvent.Kind.RELEASED) | Q(kind=JobEvent.Kind.REQUEUED, actor="external redrive")
    return JobEvent.objects.filter(resets, job_id=OuterRef(job)).order_by()


def recovery_window() -> timedelta:
    return timedelta(hours=settings.OPSCONSOLE_RECOVERY_WINDOW_HOURS)


class JobEvent(models.Model):
    class Kind(models.TextChoices):
        ENQUEUED = "enqueued"
        CLAIMED = "claimed"
        PROGRESS = "progress"
        COMPLETED = "completed"
        RETRY_SCHEDULED = "retry_scheduled"
        FAILED = "failed"
        RECOVERED = "recovered"
        QUARANTINED = "quarantined"
        REQUEUED = "requeued"
        RELEASED = "released"
        CANCELLED = "cancelled"
        RESENT = "resent"
        FENCED = "fenced", "fenced after a restore"
        LATE_RESULT_REJECTED = "late_result_rejected"
        CLAIM_REFUSED = "claim_refused", "claim refused by the database"
        EDITED = "edited", "payload edited"

    # No foreign key: the jobs table belongs to others, and a timeline outlives its job.
    job = models.ForeignKey(
        "jobs.Job", models.DO_NOTHING, db_constraint=False, db_index=False, related_name="events"
    )
    at = models.DateTimeField(db_default=Now())
    kind = models.TextField(choices=Kind)
    run_epoch = models.IntegerField("epoch", null=True)
    actor = BoundedName(help_text="Such as 'worker:host-1', 'sweep' or 'operator:ada'.")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.DO_NOTHING,
        null=True,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )
    reason = BoundedText(blank=True, db_default="")
    details = BoundedDocument(db_default={})

    class Meta:
        db_table = "job_events"
        verbose_name = "event"
        ordering = ["id"]
        default_permissions = ("view",)
        indexes = [
            models.Index(fields=["job", "id"], name="job_events_job_idx"),
            # Events are written in the order of their times, so a BRIN index is enough to find an hour or a week.
            BrinIndex(fields=["at"], name="job_events_at_idx", pages_per_range=32, autosummarize=True),
            # What is told about a day is among millions of events that are not.
            models.Index(fields=["at"], name="job_events_rare_idx", condition=Q(kind__in=RARE_KINDS)),
        ]

    def __str__(self) -> str:
        return f"{self.kind} (run {self.run_epoch})"
