"""``outbox``: the wish to send a message, committed with the change that it announces (I2)."""

from __future__ import annotations

from datetime import timedelta
from typing import Self

from django.contrib.postgres.functions import RandomUUID
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

# A message is sent again as lost this often at the most.
MOST_RESENDS = 3
# Shorter waits are those of a dispatcher that is being restarted.
STUCK_AFTER = timedelta(minutes=5)
# The first try of a message that is sent at once; after a second one in vain, something is wrong.
TRIED_IN_VAIN = 2


class OutboxQuerySet(models.QuerySet["Outbox"]):
    def due(self) -> Self:
        """Rows to be sent now, in the order in which they became due."""
        return self.filter(state=Outbox.State.WAITING, available_at__lte=Now()).order_by("available_at", "id")

    def stuck(self) -> Self:
        """Rows that should have been sent by now: see ``stuck`` below."""
        return self.filter(stuck())


class Outbox(models.Model):
    class State(models.TextChoices):
        WAITING = "waiting"
        SENT = "sent"
        DROPPED = "dropped", "dropped: its run was no longer current"
        REFUSED = "refused", "refused by SQS for good"

    class Destination(models.TextChoices):
        QUEUE = "queue"
        DLQ = "dlq", "dead letter queue"

    job = models.ForeignKey(
        "jobs.Job", models.DO_NOTHING, db_constraint=False, db_index=False, related_name="outbox"
    )
    run_epoch = models.IntegerField("epoch")
    destination = models.TextField(choices=Destination, db_default=Destination.QUEUE)
    queue = models.TextField(db_default="default")
    reason = models.TextField(blank=True, db_default="")
    retry = models.BooleanField(db_default=False)
    # The name of the copy on a dead letter queue; what goes elsewhere needs none. The database's default is for
    # workers of others, who write such copies by the protocol.
    dead_letter_id = models.UUIDField(default=None, db_default=RandomUUID(), null=True)

    state = models.TextField(choices=State, db_default=State.WAITING)
    created_at = models.DateTimeField(db_default=Now())
    # Due at this time. A dispatcher that takes a row moves it forward by its lease, so a crash gives it back.
    available_at = models.DateTimeField(db_default=Now())
    attempts = models.IntegerField(db_default=0)
    resends = models.IntegerField(db_default=0, help_text="How often it was re-armed as lost.")
    sent_at = models.DateTimeField(null=True)
    message_id = models.TextField(blank=True, db_default="")
    last_error = models.TextField(blank=True, db_default="")

    objects = OutboxQuerySet.as_manager()

    class Meta:
        db_table = "outbox"
        verbose_name = "outgoing message"
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(
                fields=["job", "run_epoch", "destination"], name="outbox_once_a_run_and_destination"
            ),
            models.CheckConstraint(
                condition=~Q(destination="dlq") | Q(dead_letter_id__isnull=False),
                name="outbox_dead_letters_have_a_name",
            ),
        ]
        indexes = [
            models.Index(
                fields=["available_at", "id"], name="outbox_waiting_idx", condition=Q(state="waiting")
            ),
            models.Index(
                fields=["state", "id"],
                name="outbox_unsent_idx",
                condition=Q(state__in=["refused", "dropped"]),
            ),
            models.Index(fields=["job"], name="outbox_in_vain_idx", condition=Q(resends__gte=MOST_RESENDS)),
            models.Index(fields=["message_id"], name="outbox_message_idx", condition=~Q(message_id="")),
        ]

    def __str__(self) -> str:
        return f"{self.job_id} run {self.run_epoch} to {self.destination}"


def stuck(row: str = "") -> Q:
    """Nobody has taken the row since it became due, or it was tried again and again in vain, and for long.

    ``row``: the path to it. What is held until a job may start is neither: it was not tried, and is not due.
    """
    long_ago = Now() - STUCK_AFTER
    left = Q((f"{row}available_at__lt", long_ago))
    in_vain = Q((f"{row}attempts__gte", TRIED_IN_VAIN), (f"{row}created_at__lt", long_ago))
    return Q((f"{row}state", Outbox.State.WAITING)) & (left | in_vain)


def unsent(row: str = "") -> Q:
    """The row was tried in vain, be it once, or is stuck."""
    failed = Q((f"{row}state", Outbox.State.WAITING), (f"{row}last_error__gt", ""))
    return failed | stuck(row)
