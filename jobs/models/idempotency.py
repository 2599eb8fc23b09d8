"""``idempotency_keys``: the answers to requests with a key, kept for a day unless a setting says otherwise."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models.functions import Now

from opsconsole.kit.removals import kept


class IdempotencyKeyQuerySet(models.QuerySet["IdempotencyKey"]):
    def expired(self) -> Self:
        """Return keys that are no longer kept by the database's clock, which may be used again."""
        return self.filter(created_at__lt=Now() - kept("ANSWERS"))


class IdempotencyKey(models.Model):
    caller = models.TextField(help_text="The owner of the key; two callers never share one.")
    key = models.TextField()
    request = models.TextField(help_text="A hash of the request.")
    answer = models.JSONField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    objects = IdempotencyKeyQuerySet.as_manager()

    class Meta:
        db_table = "idempotency_keys"
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["caller", "key"], name="idempotency_keys_one_a_caller")
        ]
        indexes = [models.Index(fields=["created_at"], name="idempotency_keys_age_idx")]

    def __str__(self) -> str:
        return self.key
