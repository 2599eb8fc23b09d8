"""``rate_limit_requests``, a contract table. A row written by the console counts the requests of one minute."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Self

from django.contrib.postgres.functions import RandomUUID
from django.db import models
from django.db.models.functions import Now

from opsconsole.kit import mapping
from opsconsole.kit.bounded_columns import BoundedName
from opsconsole.kit.mapped_fields import fit

KEPT = timedelta(hours=1)
TABLE = mapping.current().rate_limit_requests


class RateLimitRequestQuerySet(models.QuerySet["RateLimitRequest"]):
    def expired(self) -> Self:
        """Return records older than an hour, by the database's clock."""
        return self.filter(created_at__lt=Now() - KEPT)

    def limited(self) -> Self:
        """Return records of the last hour whose requests were refused with 429."""
        return self.filter(outcome="limited", created_at__gte=Now() - KEPT)

    def requests(self) -> int:
        """Return the number of requests that these records count."""
        return int(self.aggregate(sum=models.Sum("hits"))["sum"] or 0)


class RateLimitRequest(models.Model):
    """A record of one or more similar requests."""

    id = models.UUIDField(
        primary_key=True,
        default=uuid.uuid4,
        db_default=RandomUUID(),
        editable=False,
        db_column=TABLE.columns.get("id"),
    )
    key = BoundedName(db_column=TABLE.columns.get("key"))
    endpoint = BoundedName(db_column=TABLE.columns.get("endpoint"))
    method = BoundedName(db_column=TABLE.columns.get("method"))
    created_at = fit(
        "rate_limit_requests",
        "created_at",
        models.DateTimeField(db_column=TABLE.columns.get("created_at"), db_default=Now()),
    )

    hits = models.IntegerField(db_default=1, help_text="The number of requests that this row counts.")
    outcome = BoundedName(blank=True, db_default="")
    policy = BoundedName(blank=True, db_default="")

    objects = RateLimitRequestQuerySet.as_manager()

    class Meta:
        db_table = TABLE.sql
        verbose_name = "rate limit record"
        default_permissions = ("view",)
        indexes = [
            models.Index(fields=["key", "-created_at"], name="opsconsole_rate_limits_key_idx"),
            models.Index(fields=["created_at"], name="opsconsole_rate_limits_age_idx"),
        ]

    def __str__(self) -> str:
        return f"{self.method} {self.endpoint}"
