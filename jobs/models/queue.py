"""The last reading of each SQS queue; pages, probes and SQL functions read this table, never SQS."""

from __future__ import annotations

from datetime import timedelta
from typing import Self

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Coalesce, Now

from opsconsole_worker.messages import MAX_VISIBILITY_SECONDS

__all__ = ["MAX_VISIBILITY_SECONDS", "QueueState", "QueueStateQuerySet"]

# Queues are read every minute, so one failed reading is soon followed by the next.
TWO_READINGS = timedelta(seconds=100)


class QueueStateQuerySet(models.QuerySet["QueueState"]):
    def fresh(self, within: timedelta) -> Self:
        """Return queues that were read within this time and whose last reading did not fail."""
        return self.filter(read_at__gte=Now() - within, error="")

    def unreadable(self) -> Self:
        """Return queues whose last two readings failed, or that were never read. A single timeout alerts nobody."""
        return self.exclude(error="").filter(Q(read_at=None) | Q(read_at__lt=F("checked_at") - TWO_READINGS))

    def readable(self, within: timedelta) -> Self:
        """Return queues that were read within this time and for which at most the last reading failed."""
        failed_once = Q(read_at__gte=Coalesce("checked_at", "read_at") - TWO_READINGS)
        return self.filter(Q(error="") | failed_once, read_at__gte=Now() - within)


class QueueState(models.Model):
    name = models.TextField(primary_key=True)
    visible = models.BigIntegerField(null=True)
    in_flight = models.BigIntegerField(null=True)
    delayed = models.BigIntegerField(null=True)
    visibility_timeout_seconds = models.IntegerField(null=True)
    read_at = models.DateTimeField(null=True, help_text="When the figures were read.")
    checked_at = models.DateTimeField(null=True, help_text="When the last reading was tried.")
    error = models.TextField(blank=True, db_default="", help_text="Why the last reading failed.")

    objects = QueueStateQuerySet.as_manager()

    class Meta:
        db_table = "queue_state"
        verbose_name = "queue"

    def __str__(self) -> str:
        return self.name

    @property
    def held(self) -> int | None:
        """Return how many messages the queue held at its last reading, whatever their state; None where that is unknown."""
        counts = (self.visible, self.in_flight, self.delayed)
        return None if None in counts else sum(count or 0 for count in counts)
