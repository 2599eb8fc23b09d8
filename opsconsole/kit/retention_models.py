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


class DroppedRows(models.Model):
    """Sealed rows that retention dropped: which, what they held, and where their export is.

    Only the owner's function ``drop_job_event_month`` writes it, in the transaction that drops them. Nobody changes a row.
    """

    at = models.DateTimeField(db_default=Now())
    source = models.TextField(help_text="As the source of a seal, such as 'timeline'.")
    name = models.TextField(help_text="What was dropped, such as 'job_events_2026_03'.")
    ids = models.TextField(help_text="Exactly the rows that were dropped, such as '1-8,10'.")
    row_count = models.BigIntegerField()
    content = models.TextField(help_text="The hash of the canonical content of the rows, by id.")
    file = models.TextField(help_text="Where they were exported to; empty: nowhere.")
    left_over = models.JSONField(
        db_default={}, help_text="By seal that keeps some of its rows: the hash of their canonical content."
    )
    by = models.TextField()

    class Meta:
        app_label = "opsconsole"
        db_table = "retention_drops"
        ordering = ["id"]
        default_permissions = ()

    def __str__(self) -> str:
        return self.name
