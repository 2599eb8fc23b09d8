"""``alert_notifications``: notifications, written in the transaction that changes the alert (I7)."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from alerts.models.alert import Alert, Severity


class Notification(models.Model):
    """A notification, with the alert as it was at that time. The test of a channel has no alert."""

    class Kind(models.TextChoices):
        FIRING = "firing"
        NEWS = "news", "update"
        REMINDER = "reminder"
        RESOLVED = "resolved"
        TEST = "test"

    alert = models.ForeignKey(Alert, models.CASCADE, null=True, related_name="notifications")
    kind = models.TextField(choices=Kind)
    created_at = models.DateTimeField(db_default=Now())
    severity = models.TextField(choices=Severity)
    title = models.TextField()
    summary = models.TextField(blank=True, db_default="")
    news = models.TextField(blank=True, db_default="", help_text="What is new since the last notification.")
    value = models.FloatField(null=True)
    threshold = models.FloatField(null=True)
    link = models.TextField(blank=True, db_default="")
    facts = models.JSONField(blank=True, db_default=[])
    links = models.JSONField(blank=True, db_default=[])
    addressed_at = models.DateTimeField(
        null=True, help_text="When the sender created the deliveries, one per channel."
    )

    class Meta:
        db_table = "alert_notifications"
        ordering = ["id"]
        default_permissions = ()
        indexes = [
            models.Index(fields=["id"], condition=Q(addressed_at=None), name="alert_notifications_new_idx")
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.title}"
