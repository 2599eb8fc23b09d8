"""``dead_letters``: each message that was ever seen on a dead letter queue, kept whole (I9)."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Self

from django.contrib.postgres.functions import RandomUUID
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from jobs.models.dead_letter_queue import DeadLetterQueue
from jobs.models.failure_group import FailureGroup

# People are told, and the list marks them, when SQS deletes letters within this time.
EXPIRES_SOON = timedelta(days=1)


class DeadLetterQuerySet(models.QuerySet["DeadLetter"]):
    def open(self) -> Self:
        """Letters that somebody may still have to decide about."""
        return self.filter(state__in=DeadLetter.OPEN)

    def present(self) -> Self:
        """Letters that lie in their queue, for all that is known."""
        return self.filter(state=DeadLetter.State.IN_QUEUE)

    def expiring(self, within: timedelta = EXPIRES_SOON) -> Self:
        """Letters that SQS deletes within this time, while nobody has decided about them."""
        return self.present().filter(expires_at__lt=Now() + within)

    def light(self) -> Self:
        """Without what is large: for lists."""
        return self.defer("body", "attributes", "system_attributes", "words")


class DeadLetter(models.Model):
    class State(models.TextChoices):
        IN_QUEUE = "in_queue", "in the queue"
        REPLAYING = "replaying", "being replayed"
        OUTCOME_UNKNOWN = "outcome_unknown", "outcome unknown"
        KEPT = "kept", "kept in the console"
        REPLAYED = "replayed"
        DISCARDED = "discarded"
        GONE = "gone", "left the queue without the console"

    OPEN = (State.IN_QUEUE, State.REPLAYING, State.OUTCOME_UNKNOWN, State.KEPT)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, db_default=RandomUUID(), editable=False)
    dlq = models.ForeignKey(DeadLetterQueue, models.PROTECT, db_index=False, related_name="letters")
    message_id = models.TextField(help_text="As SQS calls it.")
    queue = models.TextField(
        blank=True, db_default="", help_text="The queue that it came from; empty: unknown."
    )
    source_arn = models.TextField(blank=True, db_default="", help_text="DeadLetterQueueSourceArn.")
    state = models.TextField(choices=State, db_default=State.IN_QUEUE)

    body = models.TextField()
    body_bytes = models.IntegerField("size")
    attributes = models.JSONField(db_default={})
    system_attributes = models.JSONField(db_default={})
    sent_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(null=True, help_text="When SQS deletes it.")
    receive_count = models.IntegerField("receives", db_default=0)

    first_seen_at = models.DateTimeField(db_default=Now())
    last_seen_at = models.DateTimeField(db_default=Now())
    views = models.IntegerField("our views", db_default=1, help_text="How many of the receives were ours.")
    missed = models.SmallIntegerField(db_default=0, help_text="Full scans since that did not see it.")

    group = models.ForeignKey(FailureGroup, models.PROTECT, db_index=False, related_name="letters")
    # What the body says, as far as it is a job message. No constraint: the jobs table is the outside's.
    job = models.ForeignKey(
        "jobs.Job",
        models.DO_NOTHING,
        null=True,
        db_constraint=False,
        db_index=False,
        related_name="dead_letters",
    )
    run_epoch = models.IntegerField("epoch", null=True)
    dead_letter_id = models.TextField(blank=True, db_default="", help_text="Set on the console's own copies.")
    returned_from = models.ForeignKey(
        "self", models.PROTECT, null=True, db_index=False, related_name="returns_as"
    )
    returns = models.IntegerField(db_default=0, help_text="How often it came back after a replay.")

    told_at = models.DateTimeField(null=True, help_text="When people were told of it.")

    words = SearchVectorField(null=True)
    # Which redaction the words were read under; others are not searched.
    words_of = models.TextField(blank=True, db_default="")

    objects = DeadLetterQuerySet.as_manager()

    class Meta:
        db_table = "dead_letters"
        verbose_name = "dead letter"
        default_permissions = ("view",)
        permissions = [
            ("replay_deadletter", "Can replay a dead letter"),
            ("edit_deadletter", "Can edit a dead letter before replaying it"),
            ("discard_deadletter", "Can discard and restore a dead letter"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["dlq", "message_id"], name="dead_letters_once_a_queue"),
        ]
        indexes = [
            models.Index(fields=["-first_seen_at", "-id"], name="dead_letters_newest_idx"),
            models.Index(fields=["state", "-first_seen_at", "-id"], name="dead_letters_state_idx"),
            models.Index(fields=["group", "-first_seen_at", "-id"], name="dead_letters_group_idx"),
            models.Index(fields=["job"], name="dead_letters_job_idx", condition=Q(job__isnull=False)),
            models.Index(
                fields=["returned_from"],
                name="dead_letters_returned_idx",
                condition=Q(returned_from__isnull=False),
            ),
            models.Index(
                fields=["dlq", "last_seen_at"],
                name="dead_letters_present_idx",
                condition=Q(state__in=["in_queue", "replaying", "discarded"]),
            ),
            models.Index(
                fields=["expires_at"], name="dead_letters_expiring_idx", condition=Q(state="in_queue")
            ),
            models.Index(fields=["dlq"], name="dead_letters_untold_idx", condition=Q(told_at=None)),
            models.Index(fields=["words_of"], name="dead_letters_words_of_idx"),
            GinIndex(fields=["words"], name="dead_letters_words_idx"),
        ]

    def __str__(self) -> str:
        return str(self.pk)
