"""``dead_letter_ledger``: every action on each dead letter, by whom and why, step by step (I9, I10).

A recorded step never changes and a row is never deleted: a trigger refuses both.
"""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from jobs.models.dead_letter import DeadLetter


class ReplayAttempt(models.Model):
    class Action(models.TextChoices):
        REPLAY = "replay"
        DISCARD = "discard"
        RESTORE = "restore"
        MARK_SENT = "mark_sent", "mark as sent"
        MARK_NOT_SENT = "mark_not_sent", "mark as not sent"

    class State(models.TextChoices):
        WANTED = "wanted", "waiting for the cluster"
        REQUEUED = "requeued", "job requeued, its message is in the outbox"
        SENDING = "sending", "being sent, intent recorded"
        SENT = "sent", "sent, to be deleted"
        UNKNOWN = "unknown", "outcome unknown"
        DONE = "done"
        NOT_DONE = "not_done", "not done"

    # At most one of these may be open per letter, so that two operators never replay it twice.
    UNFINISHED = (State.WANTED, State.REQUEUED, State.SENDING, State.SENT, State.UNKNOWN)

    # No constraint: retention deletes letters that were settled long ago, and their entries stay.
    letter = models.ForeignKey(
        DeadLetter, models.PROTECT, db_constraint=False, db_index=False, related_name="attempts"
    )
    action = models.TextField(choices=Action)
    state = models.TextField(choices=State)
    actor = models.TextField(help_text="Such as 'operator:ada'.")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.DO_NOTHING,
        null=True,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )
    reason = models.TextField()
    from_copy = models.BooleanField(db_default=False, help_text="It was no longer in its queue.")
    edited_body = models.TextField(null=True, help_text="The body that was sent instead.")  # noqa: DJ001
    job_epoch = models.IntegerField(null=True, help_text="The run for which its job was requeued.")

    wanted_at = models.DateTimeField(db_default=Now())
    # The intent: from here until sent_at it is unknown whether the message was sent.
    sending_at = models.DateTimeField(null=True)
    sent_at = models.DateTimeField(null=True)
    new_message_id = models.TextField(blank=True, db_default="")
    deleted_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    outcome = models.TextField(blank=True, db_default="", help_text="Details of the result.")

    class Meta:
        db_table = "dead_letter_ledger"
        verbose_name = "ledger entry"
        verbose_name_plural = "ledger entries"
        ordering = ["id"]
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["letter"],
                name="dead_letter_ledger_one_open",
                condition=Q(state__in=["wanted", "requeued", "sending", "sent", "unknown"]),
            ),
        ]
        indexes = [
            models.Index(fields=["letter", "id"], name="dead_letter_ledger_letter_idx"),
            models.Index(
                fields=["state", "id"],
                name="dead_letter_ledger_open_idx",
                condition=Q(state__in=["wanted", "requeued", "sending", "sent"]),
            ),
            models.Index(
                fields=["new_message_id"],
                name="dead_letter_ledger_new_id_idx",
                condition=~Q(new_message_id=""),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.action} of {self.letter_id}"
