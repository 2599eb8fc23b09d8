"""``alerts``: current and past problems. At most one alert per fingerprint is open at any time."""

from __future__ import annotations

from typing import Self, TypeAlias

from django.contrib.postgres.functions import RandomUUID
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django_stubs_ext import WithAnnotations

from opsconsole.kit.db_clock import DbNow


class Severity(models.TextChoices):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class AlertQuerySet(models.QuerySet["Alert"]):
    def open(self) -> Self:
        """Return alerts that are not resolved: firing, acknowledged or snoozed."""
        return self.filter(resolved_at=None)

    def firing(self) -> Self:
        """Return open alerts that nobody has acknowledged or snoozed."""
        return self.open().filter(state=Alert.State.FIRING)

    def unknown(self) -> Self:
        """Return open alerts whose value can't be read at present (I8)."""
        return self.open().exclude(unknown_since=None)

    def clear(self) -> Self:
        """Return open alerts whose problem is away, and which resolve unless it comes back."""
        return self.open().exclude(clear_since=None)

    def with_held_news(self) -> Self:
        """Return open alerts with news that was not sent, because the last message was a short time ago."""
        return self.open().exclude(held_news="")

    def snooze_over(self) -> Self:
        """Return snoozed alerts whose snooze has ended."""
        return self.open().filter(state=Alert.State.SNOOZED, snoozed_until__lte=Now())


class Alert(models.Model):
    """A problem. Only ``alerts.notify``, ``alerts.operator_decisions`` and ``alerts.sending.reminders`` write these rows."""

    class State(models.TextChoices):
        FIRING = "firing"
        ACKNOWLEDGED = "acknowledged"
        SNOOZED = "snoozed"
        RESOLVED = "resolved"

    Severity = Severity

    fingerprint = models.TextField(
        help_text="Identifies the problem: the same problem always has the same fingerprint."
    )
    rule = models.TextField(
        blank=True, db_default="", help_text="The name of the alert's rule, if it has one."
    )
    state = models.TextField(choices=State, db_default=State.FIRING)
    severity = models.TextField(choices=Severity)
    title = models.TextField()
    summary = models.TextField(blank=True, db_default="")
    value = models.FloatField(null=True, help_text="The value last measured.")
    threshold = models.FloatField(null=True, help_text="The alert fires above this value.")
    link = models.TextField(blank=True, db_default="", help_text="The path of the console page to look at.")
    facts = models.JSONField(
        blank=True, db_default=[], help_text="Labels with a text, and the redaction under which it was read."
    )
    links = models.JSONField(blank=True, db_default=[], help_text="Pairs of a label and a URL.")
    since = models.DateTimeField(db_default=Now())
    last_seen_at = models.DateTimeField(db_default=Now())
    resolved_at = models.DateTimeField(null=True)

    incident_key = models.UUIDField(
        db_default=RandomUUID(), help_text="Identifies the alert to services that open incidents."
    )

    # The last notification, which decides whether a new value is worth another one.
    told_at = models.DateTimeField(null=True)
    told_value = models.FloatField(null=True)
    told_severity = models.TextField(choices=Severity, blank=True, db_default="")
    held_news = models.TextField(
        blank=True, db_default="", help_text="News that waits for the next update to be due."
    )
    held_breaks_through = models.BooleanField(
        db_default=False,
        help_text="Whether the news is sent even if the alert is acknowledged or snoozed.",
    )

    clear_since = models.DateTimeField(
        null=True, help_text="The time since which the problem is away, while the alert keeps firing."
    )

    unknown_since = models.DateTimeField(null=True, help_text="The time since which the value can't be read.")
    unknown_why = models.TextField(blank=True, db_default="")

    snoozed_until = models.DateTimeField(null=True)
    handled_at = models.DateTimeField(null=True)
    handled_by = models.TextField(
        blank=True, db_default="", help_text="The user who made the last decision about the alert."
    )
    handled_reason = models.TextField(blank=True, db_default="")

    objects = AlertQuerySet.as_manager()

    class Meta:
        db_table = "alerts"
        ordering = ["-since", "-id"]
        default_permissions = ("view",)
        permissions = [
            ("acknowledge_alert", "Can acknowledge an alert"),
            ("snooze_alert", "Can snooze an alert"),
            ("resolve_alert", "Can resolve an alert manually"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["fingerprint"], condition=Q(resolved_at=None), name="alerts_one_open_a_fingerprint"
            ),
            models.CheckConstraint(
                condition=Q(state="resolved", resolved_at__isnull=False)
                | Q(state__in=["firing", "acknowledged", "snoozed"], resolved_at=None),
                name="alerts_resolved_has_a_time",
            ),
            models.CheckConstraint(
                condition=~Q(state="snoozed") | Q(snoozed_until__isnull=False),
                name="alerts_snoozed_has_an_end",
            ),
        ]
        indexes = [models.Index(fields=["-since", "-id"], name="alerts_newest_idx")]

    def __str__(self) -> str:
        return self.title

    @property
    def why_unknown(self) -> str:
        """Return why the value can't be read, as a sentence."""
        return f"{(self.unknown_why or 'No reason was given').rstrip('.')}."

    @property
    def open(self) -> bool:
        return self.resolved_at is None


DatedAlert: TypeAlias = "WithAnnotations[Alert, DbNow]"
