"""Channels, the deliveries of notifications to them, and the attempts at each delivery."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from alerts.models.alert import Severity
from alerts.models.notification import Notification


class ChannelQuerySet(models.QuerySet["Channel"]):
    def broken(self, address: str) -> Self:
        """Return channels of which this address, given by its digest, has rejected a message permanently."""
        return self.filter(**{f"addresses__{address}": Channel.BROKEN})


class Channel(models.Model):
    """The state of a channel, and what it is told. Its address is a secret: only the environment contains it, or ``secret`` encrypted.

    A broken state belongs to the address with which it was seen: a new address is tried at once.
    A sender holds the lease of a channel while it posts, so that the channel gets one message at a time, in order.
    """

    WORKING, BROKEN = "working", "broken"

    name = models.TextField(primary_key=True)
    addresses = models.JSONField(
        blank=True,
        db_default={},
        help_text="Digests of the addresses that the channel has had, and whether each is broken.",
    )
    failures = models.IntegerField(db_default=0, help_text="The number of consecutive failed attempts.")
    failing_since = models.DateTimeField(null=True)
    broken_since = models.DateTimeField(
        null=True,
        help_text="When the channel rejected a message permanently. Its address gets no more messages.",
    )
    broken_why = models.TextField(blank=True, db_default="")
    last_ok_at = models.DateTimeField(null=True)
    last_attempt_at = models.DateTimeField(null=True)
    last_answer = models.TextField(blank=True, db_default="")
    next_post_at = models.DateTimeField(db_default=Now())
    leased_until = models.DateTimeField(null=True)
    lease = models.UUIDField(null=True, help_text="Identifies the sender that holds the lease.")

    secret = models.TextField(
        blank=True,
        db_default="",
        help_text="The encrypted address of a channel that was added on a page. Empty: the environment has it.",
    )
    least_severity = models.TextField(choices=Severity, db_default=Severity.INFO)
    rules = models.JSONField(
        blank=True, db_default=[], help_text="The rules whose alerts it is told. Empty: all alerts."
    )
    queues = models.JSONField(
        blank=True,
        db_default=[],
        help_text="The queues whose alerts it is told. Empty: all alerts, also those about no queue.",
    )
    from_hour = models.SmallIntegerField(
        null=True, help_text="It is told from this hour of the day (UTC) on. Empty: all day."
    )
    until_hour = models.SmallIntegerField(null=True, help_text="It is told before this hour (UTC).")
    muted_until = models.DateTimeField(null=True)
    muted_by = models.TextField(blank=True, db_default="")
    muted_why = models.TextField(blank=True, db_default="")

    objects = ChannelQuerySet.as_manager()

    class Meta:
        db_table = "alert_channels"
        ordering = ["name"]
        default_permissions = ("view",)
        permissions = [
            ("test_channel", "Can send a test message to a channel"),
            ("configure_channel", "Can add, route, mute and remove channels"),
        ]

    def __str__(self) -> str:
        return self.name

    def is_broken(self, address: str) -> bool:
        """Tell whether this address, given by its digest, has rejected a message permanently."""
        return bool(self.addresses.get(address) == self.BROKEN)


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    def waiting(self) -> Self:
        return self.filter(state=Delivery.State.WAITING)


class Delivery(models.Model):
    """The delivery of a notification to one channel."""

    class State(models.TextChoices):
        WAITING = "waiting"
        SENT = "sent"
        HANDED_OVER = "handed_over", "handed over to the fallback channel"

    notification = models.ForeignKey(Notification, models.CASCADE, related_name="deliveries")
    channel = models.TextField()
    state = models.TextField(choices=State, db_default=State.WAITING)
    created_at = models.DateTimeField(db_default=Now())
    in_doubt = models.BooleanField(
        db_default=False, help_text="The message was posted, but the outcome is unknown."
    )
    may_be_repeat = models.BooleanField(db_default=False)
    instead_of = models.TextField(
        blank=True,
        db_default="",
        help_text="The channel that does not accept messages, which this delivery replaces.",
    )
    settled_at = models.DateTimeField(null=True)

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        db_table = "alert_deliveries"
        ordering = ["id"]
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["notification", "channel"], name="alert_deliveries_one_a_channel")
        ]
        indexes = [
            models.Index(
                fields=["channel", "id"], condition=Q(state="waiting"), name="alert_deliveries_waiting_idx"
            )
        ]

    def __str__(self) -> str:
        return f"{self.channel}: {self.get_state_display()}"


class Attempt(models.Model):
    """An attempt at a delivery. ``answer``: the vendor's answer, shortened and without secrets."""

    class Outcome(models.TextChoices):
        DELIVERED = "delivered"
        AGAIN = "again", "to be retried"
        UNKNOWN = "unknown", "outcome unknown"
        MALFORMED = "malformed", "message rejected"
        BROKEN = "broken", "rejected permanently"

    delivery = models.ForeignKey(Delivery, models.CASCADE, related_name="attempts")
    at = models.DateTimeField(db_default=Now())
    outcome = models.TextField(choices=Outcome)
    answer = models.TextField(blank=True, db_default="")

    class Meta:
        db_table = "alert_attempts"
        ordering = ["id"]
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.get_outcome_display()}: {self.answer}"
