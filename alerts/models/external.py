"""Messages from Amazon SNS, and pings to dead-man's switches."""

from __future__ import annotations

from datetime import timedelta

from django.db import models
from django.db.models.functions import Now

# How long the record of a message is kept. SNS repeats a message for at most an hour.
KEPT = timedelta(days=30)


class SnsMessage(models.Model):
    """A verified message from Amazon SNS, and its effect. Only ``alerts.aws.message_handler`` writes these rows."""

    message_id = models.TextField(primary_key=True)
    kind = models.TextField()
    topic = models.TextField()
    about = models.TextField(help_text="The fingerprint of the alert that the message is about.")
    happened_at = models.DateTimeField(help_text="When the alarm changed, or else when the message was sent.")
    received_at = models.DateTimeField(db_default=Now())
    effect = models.TextField(blank=True, db_default="")

    class Meta:
        db_table = "alert_sns_messages"
        verbose_name = "message from SNS"
        verbose_name_plural = "messages from SNS"
        ordering = ["-received_at"]
        default_permissions = ("view",)
        indexes = [models.Index(fields=["about", "-happened_at"], name="alert_sns_messages_about_idx")]

    def __str__(self) -> str:
        return self.message_id


class DeadManPing(models.Model):
    """The last ping to a dead-man's switch, whose URL is a secret. Only ``alerts.watch.deadman`` writes these rows."""

    name = models.TextField(primary_key=True)
    reported = models.DateTimeField(null=True, help_text="The last success that was reported to the switch.")
    pinged_at = models.DateTimeField(null=True)
    ok_at = models.DateTimeField(null=True, help_text="When a ping was last accepted.")
    failing_since = models.DateTimeField(null=True)
    answer = models.TextField(blank=True, db_default="")

    class Meta:
        db_table = "alert_dead_man_pings"
        verbose_name = "dead-man's switch"
        verbose_name_plural = "dead-man's switches"
        ordering = ["name"]
        default_permissions = ("view",)

    def __str__(self) -> str:
        return self.name
