"""Rules, their last measurements (gauges), and monitors."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from django.db import models
from django.db.models import F
from django.db.models.functions import Now

from alerts.models.alert import Severity
from opsconsole.kit.lateness import late_after


class Rule(models.Model):
    """The settings of a rule in ``alerts.catalog``. Only ``alerts.rules`` changes them."""

    name = models.TextField(primary_key=True)
    enabled = models.BooleanField(db_default=True)
    threshold = models.FloatField(
        null=True, help_text="The alert fires above this value. Empty if the threshold is set elsewhere."
    )
    hysteresis = models.FloatField(
        db_default=0, help_text="How far below the threshold the value must fall for the alert to resolve."
    )
    severity = models.TextField(choices=Severity)
    reminder_interval = models.DurationField(help_text="The time between reminders while the alert fires.")
    changed_at = models.DateTimeField(null=True)
    changed_by = models.TextField(blank=True, db_default="")
    reason = models.TextField(blank=True, db_default="")

    class Meta:
        db_table = "alert_rules"
        ordering = ["name"]
        default_permissions = ("view", "change")

    def __str__(self) -> str:
        return self.name


class Gauge(models.Model):
    """The last measurement per rule and scope. If a measurement fails, ``value`` keeps the last known value (I8)."""

    fingerprint = models.TextField(primary_key=True)
    rule = models.TextField()
    value = models.FloatField(null=True)
    measured_at = models.DateTimeField(null=True)
    unknown_since = models.DateTimeField(null=True)
    unknown_why = models.TextField(blank=True, db_default="")

    class Meta:
        db_table = "alert_gauges"
        ordering = ["fingerprint"]
        default_permissions = ()

    def __str__(self) -> str:
        return self.fingerprint


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
