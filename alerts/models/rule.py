"""Rules, and their last measurements (gauges)."""

from __future__ import annotations

from datetime import timedelta

from django.db import models

from alerts.models.alert import Severity


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
    keep_firing_for = models.DurationField(
        db_default=timedelta(0), help_text="How long the problem must stay away for the alert to resolve."
    )
    news_interval = models.DurationField(
        db_default=timedelta(minutes=15), help_text="The shortest time between updates about an alert."
    )
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
