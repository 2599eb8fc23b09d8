"""``alerts``: what is or was wrong. At most one alert a fingerprint is open at any time."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class AlertQuerySet(models.QuerySet["Alert"]):
    def open(self) -> Self:
        """Not resolved: firing, or acknowledged by somebody who looks after it."""
        return self.filter(resolved_at=None)


class Alert(models.Model):
    """Written only through ``alerts.notify``."""

    class State(models.TextChoices):
        FIRING = "firing"
        ACKNOWLEDGED = "acknowledged"
        RESOLVED = "resolved"

    class Severity(models.TextChoices):
        INFO = "info"
        WARNING = "warning"
        CRITICAL = "critical"

    fingerprint = models.TextField(
        help_text="Names what is wrong; the same trouble has the same fingerprint."
    )
    state = models.TextField(choices=State, db_default=State.FIRING)
    severity = models.TextField(choices=Severity)
    title = models.TextField()
    summary = models.TextField(blank=True, db_default="")
    value = models.FloatField(null=True, help_text="The figure that was last measured.")
    threshold = models.FloatField(null=True, help_text="The figure from which it counts as wrong.")
    link = models.TextField(blank=True, db_default="")
    since = models.DateTimeField(db_default=Now())
    last_seen_at = models.DateTimeField(db_default=Now())
    resolved_at = models.DateTimeField(null=True)

    objects = AlertQuerySet.as_manager()

    class Meta:
        db_table = "alerts"
        ordering = ["-since", "-id"]
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(
                fields=["fingerprint"], condition=Q(resolved_at=None), name="alerts_one_open_a_fingerprint"
            ),
            models.CheckConstraint(
                condition=Q(state="resolved", resolved_at__isnull=False)
                | Q(state__in=["firing", "acknowledged"], resolved_at=None),
                name="alerts_resolved_has_a_time",
            ),
        ]
        indexes = [models.Index(fields=["-since", "-id"], name="alerts_newest_idx")]

    def __str__(self) -> str:
        return self.title
