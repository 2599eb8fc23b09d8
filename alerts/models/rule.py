"""When a figure is wrong (rules), what was last measured (gauges), and who looked when (monitors)."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from django.db import models
from django.db.models import F
from django.db.models.functions import Now

from alerts.models.alert import Severity
from opsconsole.kit.lateness import late_after


class Rule(models.Model):
    """What an operator may adjust about one of ``alerts.catalog``; changed by ``alerts.rules`` alone."""

    name = models.TextField(primary_key=True)
    enabled = models.BooleanField(db_default=True)
    threshold = models.FloatField(
        null=True, help_text="It fires above this figure. None: the threshold is set elsewhere."
    )
    hysteresis = models.FloatField(
        db_default=0, help_text="How far below the threshold the figure must fall until it resolves."
    )
    severity = models.TextField(choices=Severity)
    reminder_interval = models.DurationField(help_text="How often people hear of it while it fires.")
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
    """The last measurement a rule and scope. Unknown is not zero: ``value`` stays what it was (I8)."""

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
        """Those that have not succeeded for two of their intervals."""
        return self.filter(last_ok_at__lt=Now() - late_after(F("interval")))

    def in_time(self) -> Self:
        return self.filter(last_ok_at__gte=Now() - late_after(F("interval")))


class Monitor(models.Model):
    """Something that must succeed again and again: a sweep, a check of a dead letter queue."""

    name = models.TextField(primary_key=True)
    interval = models.DurationField()
    last_ok_at = models.DateTimeField(db_default=Now())

    objects = MonitorQuerySet.as_manager()

    class Meta:
        db_table = "alert_monitors"
        ordering = ["name"]
        default_permissions = ("view",)
        permissions = [("forget_monitor", "Can forget a monitor that is no longer run")]

    def __str__(self) -> str:
        return self.name

    def is_late(self, now: datetime) -> bool:
        """The same of one that was read, by the database's clock."""
        return now - self.last_ok_at > late_after(self.interval)
