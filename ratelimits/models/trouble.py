"""``rate_limit_troubles``: problems that limiter processes report, for the console to show."""

from __future__ import annotations

from datetime import timedelta
from typing import Self

from django.db import models
from django.db.models.functions import Now


class LimiterTroubleQuerySet(models.QuerySet["LimiterTrouble"]):
    def present(self) -> Self:
        """Return problems that still exist.

        A process repeats its report of an unavailable store every few seconds, until the store answers or the process
        ends. The other problems count as present for an hour after the last request that showed them.
        """
        store_away = models.Q(kind=LimiterTrouble.Kind.STORE_AWAY)
        in_last_seconds = models.Q(seen_at__gte=Now() - timedelta(seconds=30))
        in_last_hour = models.Q(seen_at__gte=Now() - timedelta(hours=1))
        return self.filter(store_away & in_last_seconds | ~store_away & in_last_hour)

    def of_proxies(self) -> Self:
        """Return what was seen of proxies within the last day."""
        kinds = (LimiterTrouble.Kind.UNTRUSTED_PROXY, LimiterTrouble.Kind.UNREAD_HEADER)
        return self.filter(kind__in=kinds, seen_at__gte=Now() - timedelta(days=1))

    def outdated(self) -> Self:
        """Return problems last reported more than a day ago."""
        return self.filter(seen_at__lt=Now() - timedelta(days=1))


class LimiterTrouble(models.Model):
    """A problem of one process. The background thread of each process writes it (``ratelimits.records.troubles``)."""

    class Kind(models.TextChoices):
        STORE_AWAY = "store away"
        UNTRUSTED_PROXY = "untrusted proxy"
        HIDDEN_PEER = "hidden peer"
        PROCESSES = "more processes than stated"
        EVICTION = "store evicts keys"
        UNREAD_HEADER = "unread header"

    kind = models.TextField(choices=Kind)
    process = models.TextField(help_text="The host and the process id.")
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
