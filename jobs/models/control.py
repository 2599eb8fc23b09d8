"""``recovery_control``: the single row that says whether recovery may act (I6)."""

from __future__ import annotations

from django.db import models

from opsconsole.kit import single_rows


class RecoveryControl(models.Model):
    """The state of recovery, written only by ``jobs.recovery.control``. A migration creates the single row."""

    class Mode(models.TextChoices):
        OBSERVE = "observe", "observe: shows what it would do"
        ARMED = "armed", "armed: recovers automatically"

    class UnknownRule(models.TextChoices):
        NEVER = "never", "never: operators decide about each"
        AFTER = "after", "after a time of silence"
        VISIBILITY = "visibility", "after the visibility timeout of the queue"

    id = models.SmallIntegerField(primary_key=True, default=1)
    mode = models.TextField(choices=Mode, db_default=Mode.OBSERVE)
    cutoff = models.DateTimeField(null=True, help_text="Runs that began before it are handled by hand only.")
    changed_at = models.DateTimeField(null=True)
    changed_by = models.TextField(blank=True, db_default="")
    reason = models.TextField(blank=True, db_default="")

    outage_ended_at = models.DateTimeField(
        null=True, help_text="No worker could send heartbeats before this time."
    )
    hold_started_at = models.DateTimeField(null=True)
    hold_until = models.DateTimeField(
        null=True, help_text="Mass staleness: nothing is recovered before this time."
    )
    # Runs last seen before this were part of a mass event; their recovery is not counted against their jobs.
    forgiven_before = models.DateTimeField(null=True)

    beats_looked_at = models.DateTimeField(
        null=True, help_text="When the console last compared the heartbeats with the earlier ones."
    )

    # What becomes of silent runs without evidence that their worker died.
    unknown_rule = models.TextField(choices=UnknownRule, db_default=UnknownRule.NEVER)
    unknown_after = models.DurationField(
        null=True, help_text="How long such a run must be silent before it is recovered."
    )

    class Meta:
        db_table = "recovery_control"
        verbose_name = "recovery control"
        default_permissions = ("view",)
        permissions = [("arm_recovery", "Can arm, disarm and release automatic recovery")]
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="recovery_control_one_row")]

    def __str__(self) -> str:
        return self.get_mode_display()

    @classmethod
    def load(cls) -> RecoveryControl:
        return single_rows.only(cls, cls.objects.filter(pk=1))

    @property
    def armed(self) -> bool:
        return self.mode == self.Mode.ARMED


class Attachment(RecoveryControl):
    """The page Attach, which has no rows: the model exists for its permission."""

    class Meta:
        proxy = True
        verbose_name = "attachment"
        default_permissions = ("view",)
