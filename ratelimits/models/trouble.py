"""``rate_limit_troubles``: what the limiter's processes complain about, so that the console can show it."""

from __future__ import annotations

from datetime import timedelta
from typing import Self

from django.db import models
from django.db.models.functions import Now


class LimiterTroubleQuerySet(models.QuerySet["LimiterTrouble"]):
    def present(self) -> Self:
        """Seen lately: a process repeats what lasts every few seconds, and one that ended says nothing more."""
        lasting = models.Q(kind=LimiterTrouble.Kind.STORE_AWAY)
        lately = models.Q(seen_at__gte=Now() - timedelta(seconds=30))
        within_the_hour = models.Q(seen_at__gte=Now() - timedelta(hours=1))
        return self.filter(lasting & lately | ~lasting & within_the_hour)

    def forgotten(self) -> Self:
        return self.filter(seen_at__lt=Now() - timedelta(days=1))


class LimiterTrouble(models.Model):
    """Written by ``ratelimits.records.troubles``, from the keeper of each process."""

    class Kind(models.TextChoices):
        STORE_AWAY = "store away"
        UNTRUSTED_PROXY = "untrusted proxy"
        PROCESSES = "more processes than stated"

    kind = models.TextField(choices=Kind)
    process = models.TextField(help_text="Host and process id.")
    detail = models.TextField()
    since = models.DateTimeField(db_default=Now())
    seen_at = models.DateTimeField(db_default=Now())

    objects = LimiterTroubleQuerySet.as_manager()

    class Meta:
        db_table = "rate_limit_troubles"
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(fields=["kind", "process"], name="rate_limit_troubles_one_a_process")
        ]

    def __str__(self) -> str:
        return f"{self.kind} at {self.process}"
