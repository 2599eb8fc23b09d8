"""``restores`` and ``server_mark``: what the console did after restores, and by what it recognises one."""

from __future__ import annotations

from django.contrib.postgres.functions import RandomUUID
from django.db import models
from django.db.models.functions import Now


class Restore(models.Model):
    """One fencing of all runs after a restore or failover, written only by ``jobs.restores.fencing``."""

    began_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(
        null=True, help_text="Empty: it goes on when the command is run again."
    )
    actor = models.TextField(help_text="Such as 'operator:ada'.")
    reason = models.TextField()
    fence = models.IntegerField(help_text="Every run from before has a lower epoch than this.")
    fenced_running = models.IntegerField(db_default=0)
    fenced_waiting = models.IntegerField(db_default=0)
    fenced_ended = models.IntegerField(db_default=0)
    told_completed = models.IntegerField(db_default=0)
    signs = models.JSONField(db_default=[], help_text="What the console had noticed, one sentence each.")
    # By the name of the queue: its messages before anything was sent again; null where SQS did not answer.
    depths = models.JSONField(db_default={})

    class Meta:
        db_table = "restores"
        ordering = ["-id"]
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"restore {self.pk}"


class ServerMark(models.Model):
    """The single row by which the console recognises its database, written only by ``jobs.restores.signs``.

    ``installation`` is new for each new database, and the same in a backup of it.
    """

    id = models.SmallIntegerField(primary_key=True, default=1)
    installation = models.UUIDField(db_default=RandomUUID())
    system_identifier = models.TextField(blank=True, db_default="")
    timeline = models.IntegerField(null=True)
    remembered_at = models.DateTimeField(null=True)
    signs = models.JSONField(db_default=[], help_text="Signs of a restore, one sentence each.")
    noticed_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "server_mark"
        default_permissions = ()
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="server_mark_one_row")]

    def __str__(self) -> str:
        return str(self.installation)
