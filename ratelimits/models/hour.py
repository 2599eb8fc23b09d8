"""``rate_limit_hours``: what became of the records, by hour, for ninety days. Clients are hashed."""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256
from typing import Self

from django.db import models
from django.db.models.functions import Now

from ratelimits.models.control import LimiterControl

HOURS_KEPT = timedelta(days=90)


class RateLimitHourQuerySet(models.QuerySet["RateLimitHour"]):
    def expired(self) -> Self:
        """Hours that began more than ninety days ago, by the database's clock."""
        return self.filter(hour__lt=Now() - HOURS_KEPT)

    def of_client(self, key: str) -> Self:
        """Those of one client, ``key`` as in the records."""
        return self.filter(key_hash=hashed(key))


class RateLimitHour(models.Model):
    """Written only where records are deleted (``ratelimits.records.recording.cleanup`` and the SQL function): each counts in
    one of the two tables at any time."""

    hour = models.DateTimeField(help_text="When it began, UTC.")
    policy = models.TextField()
    key_hash = models.TextField()
    endpoint = models.TextField()
    method = models.TextField()
    outcome = models.TextField()
    hits = models.BigIntegerField()

    objects = RateLimitHourQuerySet.as_manager()

    class Meta:
        db_table = "rate_limit_hours"
        verbose_name = "rate limit hour"
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(
                fields=["hour", "policy", "key_hash", "endpoint", "method", "outcome"],
                name="rate_limit_hours_one_row_a_kind",
            )
        ]
        indexes = [models.Index(fields=["key_hash", "-hour"], name="rate_limit_hours_client_idx")]

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H:00} {self.method} {self.endpoint}"


def hashed(key: str) -> str:
    """A client's key as it stands in the rollups."""
    salt = LimiterControl.objects.values_list("salt", flat=True).first() or ""
    return sha256(f"{salt}{key}".encode()).hexdigest()
