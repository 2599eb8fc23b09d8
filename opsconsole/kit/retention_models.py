"""The tables of retention: what was removed, and how large tables were on each day."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now


class Removal(models.Model):
    """How many rows of a kind one run removed. Written only by ``opsconsole.kit.removals``."""

    at = models.DateTimeField(db_default=Now())
    subject = models.TextField(help_text="What was removed, such as 'sweeps'.")
    rows = models.BigIntegerField()
    by = models.TextField(help_text="'schedule', or who ran the command.")

    class Meta:
        app_label = "opsconsole"
        db_table = "retention_removals"
        ordering = ["-id"]
        default_permissions = ()
        indexes = [models.Index(fields=["subject", "-id"], name="retention_removals_last_idx")]

    def __str__(self) -> str:
        return f"{self.rows:,} {self.subject}"


class TableSize(models.Model):
    """How large a table was on a day (UTC), with its indexes. At most one row per table and day."""

    day = models.DateField()
    table = models.TextField()
    bytes = models.BigIntegerField(help_text="The table with its indexes.")
    index_bytes = models.BigIntegerField()
    rows = models.BigIntegerField(null=True, help_text="PostgreSQL's estimate; empty where it has none.")

    class Meta:
        app_label = "opsconsole"
        db_table = "table_sizes"
        ordering = ["-day", "table"]
        # Its page is about the data of all tables.
        default_permissions = ("view",)
        constraints = [models.UniqueConstraint(fields=["table", "day"], name="table_sizes_once_a_day")]

    def __str__(self) -> str:
        return f"{self.table} on {self.day}"
