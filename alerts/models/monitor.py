"""``alert_monitors``: recurring work that must succeed in time, such as sweeps and checks."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from django.db import models
from django.db.models import F
from django.db.models.functions import Now

from opsconsole.kit.lateness import late_after


class MonitorQuerySet(models.QuerySet["Monitor"]):
    def late(self) -> Self:
        """Return monitors that have not succeeded for two of their intervals."""
        return self.filter(last_ok_at__lt=Now() - late_after(F("interval")))

    def in_time(self) -> Self:
        return self.filter(last_ok_at__gte=Now() - late_after(F("interval")))


class Monitor(models.Model):
    """Something that must succeed regularly, such as a sweep or the check of a dead letter queue."""

    name = models.TextField(primary_key=True)
    interval = models.DurationField()
    last_ok_at = models.DateTimeField(db_default=Now())

    objects = MonitorQuerySet.as_manager()

    class Meta:
        db_table = "alert_monitors"
        ordering = ["name"]
        default_permissions = ("view",)
        permissions = [("forget_monitor", "Can forget a monitor that no longer runs")]

    def __str__(self) -> str:
        return self.name

    def is_late(self, now: datetime) -> bool:
        """Tell whether the monitor is late at this time of the database's clock."""
        return now - self.last_ok_at > late_after(self.interval)
