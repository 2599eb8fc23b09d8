"""``api_keys``: the clients that may call the API, and their scopes. The keys themselves are not stored."""

from __future__ import annotations

import uuid
from functools import cached_property
from typing import Self

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class Scope(models.TextChoices):
    """A permission of a key. Each route names the scope that it requires (``opsconsole.api.routes``)."""

    JOBS_WRITE = "jobs:write", "jobs:write: submit jobs"
    WORKER = "worker", "worker: claim and run jobs"
    LIMITS_CHECK = "limits:check", "limits:check: check rate limits for other services"
    LIMITS_FREE = "limits:free", "limits:free: free clients that used up their limit"
    # Those of the operator's API; ``ratelimits.keys.operator_scopes`` says which permissions each stands for.
    JOBS_READ = "jobs:read", "jobs:read: list and show jobs, without their payloads"
    JOBS_OPERATE = "jobs:operate", "jobs:operate: requeue, cancel and release jobs"
    JOBS_EDIT = "jobs:edit", "jobs:edit: with payloads:read, edit the payload of a job that does not run"
    PAYLOADS_READ = (
        "payloads:read",
        "payloads:read: with jobs:read or letters:read, show payloads and bodies too",
    )
    LETTERS_READ = "letters:read", "letters:read: list and show dead letters, without their bodies"
    LETTERS_OPERATE = "letters:operate", "letters:operate: replay, discard and restore dead letters"
    LETTERS_EDIT = (
        "letters:edit",
        "letters:edit: with payloads:read, send a dead letter again with another body",
    )
    ALERTS_READ = "alerts:read", "alerts:read: list and show alerts"
    ALERTS_OPERATE = "alerts:operate", "alerts:operate: acknowledge, snooze and resolve alerts"
    PAUSES_READ = "pauses:read", "pauses:read: see what is paused"
    PAUSES_OPERATE = "pauses:operate", "pauses:operate: pause and resume recovery, checks and queues"
    LIMITS_READ = "limits:read", "limits:read: see the policies"
    LIMITS_OPERATE = "limits:operate", "limits:operate: change policies and the mode of the limiter"

    @property
    def words(self) -> str:
        """Return what the scope allows, without its name."""
        return self.label.partition(": ")[2]


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def valid(self) -> Self:
        """Return keys that are neither revoked nor, by the database's clock, expired."""
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=Now()), revoked_at=None)


class ApiKey(models.Model):
    """An API key. Only ``ratelimits.keys.api_keys`` writes these rows."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.TextField(
        help_text="Who uses the key. The timeline of each job that it submits shows this name."
    )
    digest = models.TextField(unique=True, editable=False, help_text="A hash of the key, made with a pepper.")
    hint = models.TextField(help_text="The last characters of the key, to tell keys apart.")
    scopes = ArrayField(models.TextField(choices=Scope))
    policy = models.TextField(help_text="The rate limit policy that counts the key's requests.")
    succeeds = models.UUIDField(
        null=True,
        editable=False,
        help_text="The first of the keys that this one succeeds; runs that they claimed are its own.",
    )
    maker = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.DO_NOTHING,
        null=True,
        db_constraint=False,
        db_index=False,
        related_name="+",
        editable=False,
        help_text="The account for which a key of the operator's API acts.",
    )
    permissions = ArrayField(
        models.TextField(),
        default=list,
        db_default=[],
        editable=False,
        help_text="What the account was allowed, of what the scopes stand for, when the key was made.",
    )
    expires_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)

    created_at = models.DateTimeField(db_default=Now())
    created_by = models.TextField()
    reason = models.TextField()
    revoked_at = models.DateTimeField(null=True)
    revoked_by = models.TextField(blank=True, db_default="")
    revoke_reason = models.TextField(blank=True, db_default="")

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        db_table = "api_keys"
        verbose_name = "API key"
        ordering = ["-created_at", "-id"]
        default_permissions = ("add", "view")
        permissions = [("revoke_apikey", "Can revoke an API key")]
        constraints = [
            models.UniqueConstraint(fields=["name"], condition=Q(revoked_at=None), name="api_keys_one_a_name")
        ]

    def __str__(self) -> str:
        return f"{self.name} (…{self.hint})"

    @cached_property
    def client(self) -> str:
        """Return the client that this key's requests count as, which each of them asks for."""
        return f"key:{self.pk}"

    @property
    def lineage(self) -> uuid.UUID:
        """Return what this key has in common with those that it succeeds: the id of the first one."""
        return self.succeeds or self.pk
