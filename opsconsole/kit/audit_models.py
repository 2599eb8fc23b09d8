"""The tables beside Django's admin log: the reason of each line, the seals, and what is still to be sealed."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now


class AuditDetail(models.Model):
    """What a line of the audit says beyond Django's own columns. Insert-only; written only by ``opsconsole.kit.audit``."""

    # No constraint: the seals cover both, and TRUNCATE is refused by our trigger, which says why.
    entry = models.OneToOneField(
        "admin.LogEntry", models.DO_NOTHING, primary_key=True, db_constraint=False, related_name="detail"
    )
    reason = models.TextField(blank=True, db_default="", help_text="Why the person did it, in their words.")
    result = models.TextField(blank=True, db_default="")
    actor = models.TextField(
        blank=True,
        db_default="",
        help_text="Who did it where that is no user of the console, such as 'ada at host-1' for a command.",
    )

    class Meta:
        app_label = "opsconsole"
        db_table = "audit_details"
        default_permissions = ()

    def __str__(self) -> str:
        return f"details of audit line {self.pk}"


class AuditSeal(models.Model):
    """A seal over rows of one source, such as the audit, chained to the seal before it.

    Insert-only; written only by ``opsconsole.seals.sealer``. ``opsconsole.seals.canonical`` says what is hashed.
    """

    class Source(models.TextChoices):
        AUDIT = "audit"
        TIMELINE = "timeline"
        BULK = "bulk", "bulk operations"
        LETTERS = "letters", "dead letters"

    number = models.BigIntegerField(primary_key=True)
    previous = models.TextField(blank=True, help_text="The hash of the seal before it; empty for the first.")
    hash = models.TextField(unique=True)
    source = models.TextField(choices=Source)
    # Rows written before there were seals: their times come from other clocks.
    existing = models.BooleanField()
    ids = models.TextField(help_text="Exactly the rows that the seal covers, such as '1-8,10'.")
    first_id = models.BigIntegerField()
    last_id = models.BigIntegerField()
    row_count = models.IntegerField()
    content = models.TextField(help_text="The hash of the canonical content of the rows.")
    sealed_at = models.DateTimeField()

    class Meta:
        app_label = "opsconsole"
        db_table = "audit_seals"
        ordering = ["number"]
        verbose_name = "seal"
        default_permissions = ()
        constraints = [
            # Two seals with the same predecessor would be two chains.
            models.UniqueConstraint(fields=["previous"], name="audit_seals_one_chain"),
        ]

    def __str__(self) -> str:
        return f"seal {self.number}"


class UnsealedRange(models.Model):
    """A range of ids in which rows may still appear that no seal covers. Only ``opsconsole.seals.sealer`` writes it.

    The range without a ``last_id`` is what comes next. Others are gaps: an id is taken from a sequence before its
    transaction commits, so rows become visible out of order, some of them hours later and some of them never.
    """

    source = models.TextField(choices=AuditSeal.Source)
    first_id = models.BigIntegerField()
    last_id = models.BigIntegerField(null=True)
    existing = models.BooleanField(db_default=False)
    noticed_at = models.DateTimeField(db_default=Now())
    # A transaction id: the gap closes when no older transaction is running.
    horizon = models.BigIntegerField(null=True)

    class Meta:
        app_label = "opsconsole"
        db_table = "audit_unsealed"
        ordering = ["source", "first_id"]
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.source} {self.first_id} to {self.last_id or 'the end'}"


class SealCheck(models.Model):
    """How far the seals were checked in this round, and what did not match. One row (``pk`` 1)."""

    id = models.SmallIntegerField(primary_key=True, db_default=1)
    next_seal = models.BigIntegerField(db_default=1)
    newest_seal = models.BigIntegerField(db_default=0, help_text="The last seal that there was.")
    round = models.IntegerField(db_default=1)
    round_ended_at = models.DateTimeField(null=True, help_text="When all seals had last been checked.")
    breaks = models.JSONField(db_default=[])
    events_from = models.BigIntegerField(
        db_default=0, help_text="Events below this id were dropped on purpose, with their month."
    )

    class Meta:
        app_label = "opsconsole"
        db_table = "audit_seal_checks"
        default_permissions = ()

    def __str__(self) -> str:
        return f"check of the seals, next {self.next_seal}"


class Refusal(models.Model):
    """How often somebody was refused in a minute. ``opsconsole.sign_in.refusals`` writes the sums to the audit and deletes them.

    A storm of refusals fills neither table: it is one row per person and client, and beyond a number one for all others.
    """

    class Kind(models.TextChoices):
        LOG_IN = "log-in"
        PERMISSION = "permission"
        SCOPE = "scope", "scope of an API key"
        SINGLE_SIGN_ON = "single sign-on"

    minute = models.DateTimeField()
    kind = models.TextField(choices=Kind)
    who = models.TextField(blank=True, help_text="The name of an account; empty for all others.")
    address = models.TextField(blank=True)
    subject = models.TextField(
        blank=True, help_text="What was asked for, such as 'POST /admin/auth/user/1/change/'."
    )
    times = models.IntegerField(db_default=1)

    class Meta:
        app_label = "opsconsole"
        db_table = "audit_refusals"
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["minute", "kind", "who", "address", "subject"], name="audit_refusals_once_a_minute"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.who or 'others'} refused {self.times} times"
