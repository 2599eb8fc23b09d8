"""``outbox``: messages to send, committed with the change that they announce (I2)."""

from __future__ import annotations

from datetime import timedelta
from typing import Self

from django.contrib.postgres.functions import RandomUUID
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from opsconsole.kit.bounded_columns import BoundedName, BoundedText

# The most times that a message is re-sent as lost.
MOST_RESENDS = 3
# Shorter waits are normal while a dispatcher restarts.
STUCK_AFTER = timedelta(minutes=5)
# A first try may fail; after a second failed one, something is wrong.
TRIED_IN_VAIN = 2
# A row that was tried is due again within this time: longer than the dispatcher's pauses and leases.
TRIED_AGAIN_WITHIN = timedelta(minutes=10)


class OutboxQuerySet(models.QuerySet["Outbox"]):
    def due(self) -> Self:
        """Return rows to be sent now, in the order in which they became due."""
        return self.filter(state=Outbox.State.WAITING, available_at__lte=Now()).order_by("available_at", "id")

    def stuck(self) -> Self:
        """Return rows that should have been sent by now; see ``stuck`` below."""
        return self.filter(stuck())


class Outbox(models.Model):
    class State(models.TextChoices):
        WAITING = "waiting"
        SENT = "sent"
        DROPPED = "dropped", "dropped: the run was no longer current"
        REFUSED = "refused", "refused by SQS permanently"

    class Destination(models.TextChoices):
        QUEUE = "queue"
        DLQ = "dlq", "dead letter queue"

    job = models.ForeignKey(
        "jobs.Job", models.DO_NOTHING, db_constraint=False, db_index=False, related_name="outbox"
    )
    run_epoch = models.IntegerField("epoch")
    destination = models.TextField(choices=Destination, db_default=Destination.QUEUE)
    queue = BoundedName(db_default="default")
    reason = BoundedText(blank=True, db_default="")
    retry = models.BooleanField(db_default=False)
    # The name of the copy on a dead letter queue; other messages need none. The database default is for other
    # people's workers, which write such copies according to the protocol.
    dead_letter_id = models.UUIDField(default=None, db_default=RandomUUID(), null=True)

    state = models.TextField(choices=State, db_default=State.WAITING)
    created_at = models.DateTimeField(db_default=Now())
    # The row is due at this time. A dispatcher that takes it moves the time forward by its lease, so that a crash returns it.
    available_at = models.DateTimeField(db_default=Now())
    attempts = models.IntegerField(db_default=0)
    resends = models.IntegerField(db_default=0, help_text="How often it was re-armed as lost.")
    sent_at = models.DateTimeField(null=True)
    message_id = BoundedName(blank=True, db_default="")
    last_error = BoundedText(blank=True, db_default="")

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
        # Its page names the job only to those who may see jobs.
        return f"message {self.pk} to {self.destination}"


def stuck(row: str = "") -> Q:
    """Match rows that nobody has taken since they became due, or that failed repeatedly for a long time.

    ``row`` is the path to the row. A row that is held until its job may start is not stuck: it is not due and was not tried.
    """
    long_ago = Now() - STUCK_AFTER
    left = Q((f"{row}available_at__lt", long_ago))
    in_vain = Q((f"{row}attempts__gte", TRIED_IN_VAIN), (f"{row}created_at__lt", long_ago))
    return _due_soon(row) & (left | in_vain)


def unsent(row: str = "") -> Q:
    """Match rows that failed at least once or are stuck."""
    failed = Q((f"{row}last_error__gt", ""))
    return _due_soon(row) & failed | stuck(row)


def _due_soon(row: str) -> Q:
    """Match rows that are due or were tried. The index of due times has them before those that are held for scheduled jobs."""
    soon = Now() + TRIED_AGAIN_WITHIN
    return Q((f"{row}state", Outbox.State.WAITING), (f"{row}available_at__lt", soon))
