"""``bulk_operations``: operations on many rows, their frozen members, and the decisions about them."""

from __future__ import annotations

from typing import Self, TypeAlias

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django_stubs_ext import WithAnnotations

from opsconsole.kit.bounded_columns import BoundedName
from opsconsole.kit.db_clock import DbNow


class BulkOperationQuerySet(models.QuerySet["BulkOperation"]):
    def begun(self) -> Self:
        """Leave out previews that nobody has confirmed, also those that are being frozen."""
        return self.exclude(state__in=BulkOperation.UNCONFIRMED)

    def at_work(self) -> Self:
        """Return those on which a runner works: confirmed ones, and previews that are being frozen."""
        return self.filter(state__in=[BulkOperation.State.RUNNING, BulkOperation.State.FREEZING])

    def due_for(self, runner: str) -> Self:
        """Return operations at work whose next chunk is due and that no other runner holds, those due longest first."""
        free = Q(runner=runner) | Q(leased_until__lte=Now())
        return self.at_work().filter(free, due_at__lte=Now()).order_by("due_at", "pk")


class BulkOperation(models.Model):
    """A bulk operation, written only by ``jobs.bulk``. Its counts are updated in the transactions that settle its members."""

    # Lines of the audit from before name it by its scope, which could quote the title of a failure group.
    named_by_number = True

    class State(models.TextChoices):
        FREEZING = "freezing", "being prepared"
        PREVIEW = "preview", "waiting for confirmation"
        RUNNING = "running"
        # By a person; the stored words are those that programs read.
        CANCELLED = "cancelled", "stopped"
        STOPPED = "stopped", "stopped automatically"
        ENDED = "ended"

    UNCONFIRMED = (State.FREEZING, State.PREVIEW)

    action = models.TextField(help_text="The action, such as 'requeue', as named in jobs.bulk.registry.")
    scope = models.TextField(help_text="What was chosen, in words.")
    query = models.TextField(blank=True, db_default="", help_text="The filters of the list at that time.")
    capped = models.BooleanField(db_default=False, help_text="More rows matched than one operation may have.")
    state = models.TextField(choices=State, db_default=State.PREVIEW)
    sentence = models.TextField(blank=True, db_default="", help_text="Why it is in this state.")

    actor = models.TextField(help_text="Who began it, such as 'operator:ada'.")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.DO_NOTHING,
        null=True,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )
    reason = models.TextField(blank=True, db_default="")
    created_at = models.DateTimeField(db_default=Now())
    begun_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True, help_text="When it ended or was stopped.")

    total = models.IntegerField("members", db_default=0)
    will = models.IntegerField(
        "to be done", db_default=0, help_text="Members that the preview does not skip."
    )
    done = models.IntegerField(db_default=0)
    skipped = models.IntegerField(db_default=0)
    failed = models.IntegerField(db_default=0)

    # The time from which the next chunk may begin. Only ``runner`` may begin it, until its lease ends.
    due_at = models.DateTimeField(db_default=Now())
    runner = models.TextField(blank=True, db_default="")
    leased_until = models.DateTimeField(db_default=Now())
    troubles = models.IntegerField(db_default=0, help_text="Chunks that failed in a row.")

    # While it is being frozen (``jobs.bulk.background_freezing``).
    choice = models.TextField(blank=True, db_default="", help_text="The signed SELECT of what was chosen.")
    frozen_to = models.JSONField(null=True, help_text="The key and the time of the last row that is frozen.")
    counted = models.JSONField(
        null=True,
        help_text="The groups of a preview that the cluster froze: will, status, reason, count, example.",
    )

    # The first members after this one are a trial for the rest (``jobs.bulk.trial``).
    trial_after = models.BigIntegerField(db_default=0)
    trial_until = models.DateTimeField(null=True)
    trial_passed = models.BooleanField(db_default=False)

    objects = BulkOperationQuerySet.as_manager()

    class Meta:
        db_table = "bulk_operations"
        verbose_name = "bulk operation"
        ordering = ["-id"]
        default_permissions = ("view",)
        indexes = [
            models.Index(fields=["due_at"], name="bulk_operations_due_idx", condition=Q(state="running")),
        ]

    def __str__(self) -> str:
        return f"bulk operation {self.pk} ({self.action})"

    @property
    def settled(self) -> int:
        return self.done + self.skipped + self.failed

    @property
    def worked(self) -> int:
        """Return how many members were processed, without those that the preview skipped."""
        return self.will - self.remaining

    @property
    def remaining(self) -> int:
        return self.total - self.settled


DatedOperation: TypeAlias = "WithAnnotations[BulkOperation, DbNow]"


class BulkMemberQuerySet(models.QuerySet["BulkMember"]):
    def waiting(self) -> Self:
        return self.filter(outcome=BulkMember.Outcome.WAITING)


class BulkMember(models.Model):
    """One subject of an operation, frozen with what was seen of it. Members are processed in the order of their ids."""

    class Outcome(models.TextChoices):
        WAITING = "waiting"
        DONE = "done"
        SKIPPED = "skipped"
        FAILED = "failed"

    id = models.BigAutoField(primary_key=True)
    operation = models.ForeignKey(BulkOperation, models.CASCADE, db_index=False, related_name="members")
    subject = BoundedName(help_text="The id of a job or dead letter.")
    seen_status = BoundedName(blank=True, db_default="")
    seen_epoch = models.IntegerField(null=True)
    seen_reason = BoundedName(blank=True, db_default="")
    will = models.BooleanField(db_default=False, help_text="The preview says that it will be done.")
    outcome = models.TextField(choices=Outcome, db_default=Outcome.WAITING)
    sentence = models.TextField(blank=True, db_default="", help_text="What will happen, then what happened.")
    settled_at = models.DateTimeField(null=True)

    objects = BulkMemberQuerySet.as_manager()

    class Meta:
        db_table = "bulk_members"
        verbose_name = "member of a bulk operation"
        verbose_name_plural = "members of bulk operations"
        default_permissions = ()
        indexes = [
            # For the next chunk of an operation, and for the pages of its members by outcome.
            models.Index(fields=["operation", "outcome", "id"], name="bulk_members_outcome_idx"),
            # For the operations that wait for a job. With ``outcome`` as the condition, PostgreSQL would take it for chunks, too.
            models.Index(
                fields=["subject"], name="bulk_members_subject_idx", condition=Q(settled_at__isnull=True)
            ),
        ]

    def __str__(self) -> str:
        return self.subject


class BulkEvent(models.Model):
    """A decision about an operation, by a person or automatic, with its time and reason. Append-only (I10)."""

    class Kind(models.TextChoices):
        BEGUN = "begun"
        CANCELLED = "cancelled", "stopped"
        RESUMED = "resumed"
        STOPPED = "stopped", "stopped automatically"
        TRIAL_PASSED = "trial_passed", "trial passed"
        ENDED = "ended"

    operation = models.ForeignKey(BulkOperation, models.DO_NOTHING, related_name="events")
    at = models.DateTimeField(db_default=Now())
    kind = models.TextField(choices=Kind)
    actor = models.TextField()
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.DO_NOTHING,
        null=True,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )
    reason = models.TextField(blank=True, db_default="")

    class Meta:
        db_table = "bulk_events"
        verbose_name = "event of a bulk operation"
        verbose_name_plural = "events of bulk operations"
        ordering = ["id"]
        default_permissions = ()

    def __str__(self) -> str:
        return self.kind
