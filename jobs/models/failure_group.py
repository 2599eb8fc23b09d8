"""``failure_groups``: groups of dead letters that failed for the same reason, according to their fingerprints."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now


class FailureGroup(models.Model):
    class Kind(models.TextChoices):
        JOB_ERROR = "job_error", "error of its job"
        NOT_DELIVERED = "not_delivered", "reason of the service that could not deliver it"
        UNREADABLE = "unreadable", "no worker could read it"
        GIVEN_REASON = "given_reason", "reason given in its body"
        RECEIVES = "receives", "received too often"
        SHAPE = "shape", "shape of its body"

    fingerprint = models.TextField(unique=True)
    kind = models.TextField(choices=Kind)
    title = models.TextField(help_text="The failure, without the parts that differ between letters.")
    note = models.TextField(blank=True, db_default="", help_text="What is known about this failure.")
    first_seen_at = models.DateTimeField(db_default=Now())
    last_seen_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "failure_groups"
        verbose_name = "failure group"
        default_permissions = ("view", "change")
        indexes = [models.Index(fields=["-last_seen_at", "-id"], name="failure_groups_newest_idx")]

    def __str__(self) -> str:
        return self.title

    @property
    def told_as(self) -> str:
        """Return the title that may leave the console; titles that were read from a body may not."""
        if self.kind in {
            self.Kind.JOB_ERROR,
            self.Kind.UNREADABLE,
            self.Kind.RECEIVES,
            self.Kind.NOT_DELIVERED,
        }:
            return self.title
        return f"failure group {self.pk} ({self.get_kind_display()})"
