"""``cluster_progress``: one row a supervised cluster, written by the tasks that came through it."""

from __future__ import annotations

from datetime import timedelta
from typing import Self

from django.db import models
from django.db.models.functions import Now

KEPT = timedelta(days=7)


class ClusterProgressQuerySet(models.QuerySet["ClusterProgress"]):
    def forgotten(self) -> Self:
        """Clusters of which nothing was heard for a week."""
        return self.filter(progressed_at__lt=Now() - KEPT)


class ClusterProgress(models.Model):
    cluster_id = models.TextField(primary_key=True)
    hostname = models.TextField()
    started_at = models.DateTimeField(db_default=Now(), help_text="When its supervisor started.")
    probe = models.IntegerField(db_default=0, help_text="The last probe that was run by the cluster.")
    progressed_at = models.DateTimeField(db_default=Now(), help_text="When it was run.")
    restarts = models.IntegerField(db_default=0, help_text="How often the supervisor had to restart it.")
    restart_reason = models.TextField(blank=True, db_default="", help_text="Why it was restarted last.")

    objects = ClusterProgressQuerySet.as_manager()

    class Meta:
        db_table = "cluster_progress"
        verbose_name = "cluster"
        default_permissions = ("view",)

    def __str__(self) -> str:
        return self.cluster_id
