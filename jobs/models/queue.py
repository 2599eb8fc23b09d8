"""What was last read of each SQS queue: pages, probes and the SQL functions read this, never SQS."""

from __future__ import annotations

from django.db import models

# The longest visibility timeout that SQS allows, in seconds (12 hours).
MAX_VISIBILITY_SECONDS = 43_200


class QueueState(models.Model):
    name = models.TextField(primary_key=True)
    visible = models.BigIntegerField(null=True)
    in_flight = models.BigIntegerField(null=True)
    delayed = models.BigIntegerField(null=True)
    visibility_timeout_seconds = models.IntegerField(null=True)
    read_at = models.DateTimeField(null=True, help_text="When the figures were read.")
    checked_at = models.DateTimeField(null=True, help_text="When reading was last tried.")
    error = models.TextField(blank=True, db_default="", help_text="Why the last try failed.")

    class Meta:
        db_table = "queue_state"
        verbose_name = "queue"

    def __str__(self) -> str:
        return self.name
