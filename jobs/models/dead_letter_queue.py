"""The last reading and scan of each dead letter queue; pages and alerts read this table, never SQS."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db import models


class DeadLetterQueue(models.Model):
    url = models.TextField(unique=True)
    queues = models.JSONField(
        db_default=[], help_text="Names of the queues that send their dead letters here."
    )

    visible = models.BigIntegerField(null=True)
    in_flight = models.BigIntegerField(null=True)
    delayed = models.BigIntegerField(null=True)
    retention_seconds = models.IntegerField(null=True)
    read_at = models.DateTimeField(null=True, help_text="When the figures were read.")
    checked_at = models.DateTimeField(null=True, help_text="When the last reading was tried.")
    unreadable_since = models.DateTimeField(null=True)
    error = models.TextField(blank=True, db_default="", help_text="Why the last reading failed.")

    scanned_at = models.DateTimeField(null=True, help_text="When the last scan began.")
    seen = models.IntegerField(null=True, help_text="Distinct messages seen by the last scan.")
    about = models.BigIntegerField(null=True, help_text="The approximate number of messages at that time.")
    full = models.BooleanField(db_default=False, help_text="The last scan certainly saw every message.")

    # One scan at a time, because two would hide messages from each other. A scan takes it by moving it forward.
    scanning_until = models.DateTimeField(null=True)

    class Meta:
        db_table = "dead_letter_queues"
        verbose_name = "dead letter queue"
        default_permissions = ()

    def __str__(self) -> str:
        return "+".join(self.queues) or self.url

    @property
    def is_configured(self) -> bool:
        """Tell whether the settings still name this queue; otherwise nothing reads it."""
        return self.url in {queue.dlq_url for queue in settings.QUEUES.values()}

    @property
    def label(self) -> str:
        """Return its name for people; one that was replaced had the same name as its successor."""
        return str(self) if self.is_configured else f"{self} (removed from the settings)"

    @property
    def depth(self) -> int | None:
        """Return the messages at the last reading (visible, in flight and delayed), or None when it was never read."""
        if self.visible is None or self.in_flight is None or self.delayed is None:
            return None
        return self.visible + self.in_flight + self.delayed

    def expiry_of(self, sent_at: datetime | None) -> datetime | None:
        """Return when SQS deletes a message sent at that time; moving it to the dead letter queue keeps the send time."""
        if sent_at is None or self.retention_seconds is None:
            return None
        return sent_at + timedelta(seconds=self.retention_seconds)
