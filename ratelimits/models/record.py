"""``rate_limit_requests``: the contract's table. A row of ours stands for a minute's requests."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Self

from django.contrib.postgres.functions import RandomUUID
from django.db import models
from django.db.models.functions import Now

KEPT = timedelta(hours=1)


class RateLimitRequestQuerySet(models.QuerySet["RateLimitRequest"]):
    def expired(self) -> Self:
        """Rows older than an hour, by the database's clock."""
        return self.filter(created_at__lt=Now() - KEPT)

    def limited(self) -> Self:
        """Requests that were answered with 429, of the last hour: older rows may be gone."""
        return self.filter(outcome="limited", created_at__gte=Now() - KEPT)

    def requests(self) -> int:
        """How many requests these rows stand for."""
        return int(self.aggregate(sum=models.Sum("hits"))["sum"] or 0)


class RateLimitRequest(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, db_default=RandomUUID(), editable=False)
    key = models.TextField()
    endpoint = models.TextField()
    method = models.TextField()
    created_at = models.DateTimeField(db_default=Now())

    hits = models.IntegerField(db_default=1, help_text="How many requests this row stands for.")
    outcome = models.TextField(blank=True, db_default="")
    policy = models.TextField(blank=True, db_default="")

    objects = RateLimitRequestQuerySet.as_manager()

    class Meta:
        db_table = "rate_limit_requests"
        verbose_name = "rate limit record"
        default_permissions = ("view",)
        indexes = [
            models.Index(fields=["key", "-created_at"], name="opsconsole_rate_limits_key_idx"),
            models.Index(fields=["created_at"], name="opsconsole_rate_limits_age_idx"),
        ]

    def __str__(self) -> str:
        return f"{self.method} {self.endpoint}"
