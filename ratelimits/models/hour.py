"""``rate_limit_hours``: hourly rollups of the records, kept for up to ninety days, with hashed client keys."""

from __future__ import annotations

from hashlib import sha256
from typing import Self

from django.db import models
from django.db.models.expressions import Func, Value
from django.db.models.functions import Now

from opsconsole.kit.bounded_columns import BoundedName
from opsconsole.kit.removals import kept
from ratelimits.models.control import LimiterControl

# The hash of a client's key, as the statements that write these rows make it.
HASHED = "encode(sha256(convert_to(coalesce((SELECT salt FROM rate_limit_control), '') || %(expressions)s, 'UTF8')), 'hex')"


class RateLimitHourQuerySet(models.QuerySet["RateLimitHour"]):
    def expired(self) -> Self:
        """Return hours that are no longer kept, by the database's clock."""
        return self.filter(hour__lt=Now() - kept("FIGURES"))

    def of_client(self, key: str) -> Self:
        """Return the hours of the client with this key of the records."""
        return self.filter(key_hash=Func(Value(key), template=HASHED, output_field=models.TextField()))


class RateLimitHour(models.Model):
    """A rollup of one hour.

    Rows are written in the statement that deletes the records (``ratelimits.records.recording.cleanup`` and the SQL
    function), so that each request is counted in exactly one of the two tables.
    """

    hour = models.DateTimeField(help_text="The start of the hour, in UTC.")
    policy = BoundedName()
    key_hash = BoundedName()
    endpoint = BoundedName()
    method = BoundedName()
    outcome = BoundedName()
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


def hash_key(key: str) -> str:
    """Return a client's key as the rollups store it."""
    return hashed(key, salts().first())


def hashed(key: str, salt: str | None) -> str:
    return sha256(f"{salt or ''}{key}".encode()).hexdigest()


def salts() -> models.QuerySet[LimiterControl, str]:
    """Return the salt of the hashes, where there is one."""
    return LimiterControl.objects.order_by("pk").values_list("salt", flat=True)
