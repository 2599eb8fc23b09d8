"""What comes from outside and what goes there without being an alert: messages of SNS, pings of dead-man's switches."""

from __future__ import annotations

from datetime import timedelta

from django.db import models
from django.db.models.functions import Now

# How long a message's record is shown. SNS repeats one within an hour.
KEPT = timedelta(days=30)


class SnsMessage(models.Model):
    """A verified message of Amazon SNS, and what followed. Written by ``alerts.aws.received``."""

    message_id = models.TextField(primary_key=True)
    kind = models.TextField()
    topic = models.TextField()
    about = models.TextField(help_text="The fingerprint of the alert that it is about.")
    happened_at = models.DateTimeField(help_text="When the alarm changed, or the message was sent.")
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
    """The last ping of one dead-man's switch. Written by ``alerts.watch.deadman``; its address is a secret of the environment."""

    name = models.TextField(primary_key=True)
    reported = models.DateTimeField(null=True, help_text="The last success that was reported.")
    pinged_at = models.DateTimeField(null=True)
    ok_at = models.DateTimeField(null=True, help_text="When a ping was last taken.")
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
