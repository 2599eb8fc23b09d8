"""The console's own models: ``cluster_progress`` (one row per supervised cluster), ``pauses`` and ``hourly_figures``."""

from __future__ import annotations

from datetime import timedelta
from typing import Self

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from opsconsole.kit.lateness import late_after

KEPT = timedelta(days=7)


class ClusterProgressQuerySet(models.QuerySet["ClusterProgress"]):
    def forgotten(self) -> Self:
        """Return clusters without progress for a week."""
        return self.filter(progressed_at__lt=Now() - KEPT)

    def progressing(self) -> Self:
        """Return clusters through which a task came within the time after which their supervisor restarts them."""
        stall = timedelta(seconds=settings.OPSCONSOLE_CLUSTER_STALL_SECONDS)
        return self.filter(progressed_at__gte=Now() - late_after(stall))


class ClusterProgress(models.Model):
    cluster_id = models.TextField(primary_key=True)
    hostname = models.TextField()
    started_at = models.DateTimeField(db_default=Now(), help_text="When its supervisor started.")
    probe = models.IntegerField(db_default=0, help_text="The last probe that the cluster ran.")
    progressed_at = models.DateTimeField(db_default=Now(), help_text="When it was run.")
    restarts = models.IntegerField(db_default=0, help_text="How often the supervisor had to restart it.")
    restart_reason = models.TextField(blank=True, db_default="", help_text="Why it was last restarted.")

    objects = ClusterProgressQuerySet.as_manager()

    class Meta:
        app_label = "opsconsole"
        db_table = "cluster_progress"
        verbose_name = "cluster"
        default_permissions = ("view",)
        # Not django-q2's own "change schedule": whoever edits a schedule chooses the code that runs.
        permissions = [
            ("pause_schedule", "Can pause and resume a schedule"),
            ("run_schedule", "Can run a schedule now"),
        ]

    def __str__(self) -> str:
        return self.cluster_id


class Verification(models.Model):
    """One verification of the installation, written only by ``opsconsole.verification.record``."""

    began_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(
        null=True, help_text="Empty while it goes on, or when its process was ended."
    )
    by = models.TextField(help_text="Who asked for it.")
    results = models.JSONField(default=list, help_text="The answers in the order of the list of checks.")

    class Meta:
        app_label = "opsconsole"
        db_table = "verifications"
        ordering = ["-id"]
        default_permissions = ("view",)
        permissions = [("verify", "Can verify the installation")]

    def __str__(self) -> str:
        return f"verification {self.pk}"


class PauseQuerySet(models.QuerySet["Pause"]):
    def active(self) -> Self:
        """Return pauses in force: not ended by anybody and not yet over, by the database's clock."""
        return self.filter(Q(until=None) | Q(until__gt=Now()), ended_at=None)


class Pause(models.Model):
    """A pause, written only by ``opsconsole.kit.pauses``. At most one per ``name`` is open."""

    name = models.TextField(help_text="What is paused, such as 'recovery' or 'queue:default'.")
    began_at = models.DateTimeField(db_default=Now())
    began_by = models.TextField()
    reason = models.TextField()
    until = models.DateTimeField(
        null=True, help_text="When it ends automatically; empty: when somebody ends it."
    )
    ended_at = models.DateTimeField(null=True)
    ended_by = models.TextField(blank=True, db_default="")
    end_reason = models.TextField(blank=True, db_default="")

    objects = PauseQuerySet.as_manager()

    class Meta:
        app_label = "opsconsole"
        db_table = "pauses"
        ordering = ["-id"]
        default_permissions = ("view",)
        permissions = [("switch", "Can pause and resume recovery, checks and queues")]
        constraints = [
            models.UniqueConstraint(
                fields=["name"], condition=Q(ended_at=None), name="pauses_one_open_a_name"
            ),
        ]

    def __str__(self) -> str:
        return f"pause of {self.name}"


class HourlyFigure(models.Model):
    """A figure counted or measured in an hour, stored so that charts need not read the rows themselves.

    Written only by ``opsconsole.kit.figures``.
    """

    name = models.TextField(help_text="Such as 'jobs completed' or 'dead letters'.")
    hour = models.DateTimeField(help_text="The hour's beginning.")
    value = models.FloatField()

    class Meta:
        app_label = "opsconsole"
        db_table = "hourly_figures"
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["name", "hour"], name="hourly_figures_once_an_hour")]

    def __str__(self) -> str:
        return f"{self.name} at {self.hour:%Y-%m-%d %H:%M}"
