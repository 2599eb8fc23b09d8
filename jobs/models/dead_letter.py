"""``dead_letters``: every message that was seen on a dead letter queue, stored whole (I9)."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Self

from django.contrib.postgres.functions import RandomUUID
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import models
from django.db.models import Case, F, Func, OuterRef, Q, Subquery, When
from django.db.models.functions import Coalesce, Greatest, Now

from jobs.models.dead_letter_queue import DeadLetterQueue
from jobs.models.event import recovery_window, resets_of
from jobs.models.failure_group import FailureGroup

# People are told, and the list marks them, when SQS deletes letters within this time.
EXPIRES_SOON = timedelta(days=1)


def failed_deliveries() -> Case:
    """Return, as an expression on ``jobs``, how many deliveries before the last one SQS counted before it gave up a message.

    They count as recoveries do: within the window, and since the job was last released. Only workers that leave their message to SQS
    have any. The last delivery of a message is left out, since it is the run that is judged, or one that was recovered.
    """
    last_reset = Subquery(resets_of("job_id").annotate(last=Func("at", function="max")).values("last"))
    letters = DeadLetter.objects.filter(
        job_id=OuterRef("pk"),
        dead_letter_id="",
        addressee="",
        first_seen_at__gt=Greatest(last_reset, Now() - recovery_window()),
    )
    # Each view of the console was a receive, too.
    earlier = Greatest(F("receive_count") - F("views") - 1, 0)
    number = letters.order_by().annotate(number=Func(earlier, function="sum")).values("number")
    return Case(
        When(claimed_epoch=None, then=Coalesce(Subquery(number), 0)),
        default=0,
        output_field=models.IntegerField(),
    )


class DeadLetterQuerySet(models.QuerySet["DeadLetter"]):
    def open(self) -> Self:
        """Return letters that are undecided or being replayed; see ``OPEN_LABEL``."""
        return self.filter(state__in=DeadLetter.OPEN)

    def present(self) -> Self:
        """Return letters that are in their queue as far as is known."""
        return self.filter(state=DeadLetter.State.IN_QUEUE)

    def expiring(self, within: timedelta = EXPIRES_SOON) -> Self:
        """Return undecided letters that SQS will delete within this time."""
        return self.present().filter(expires_at__lt=Now() + within)

    def replaced_by_requeue(self) -> Self:
        """Leave out messages to others that only mention a job: no new message of the job takes their place."""
        to_others = ~Q(addressee="") & ~Q(addressee__contains=":sns:") & Q(queue="")
        return self.exclude(to_others)

    def light(self) -> Self:
        """Defer the large columns, for lists."""
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
    # What ``OPEN`` is called, wherever such letters are counted or listed.
    OPEN_LABEL = "undecided or being replayed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, db_default=RandomUUID(), editable=False)
    dlq = models.ForeignKey(DeadLetterQueue, models.PROTECT, db_index=False, related_name="letters")
    message_id = models.TextField(help_text="The message id in SQS.")
    queue = models.TextField(blank=True, db_default="", help_text="The source queue; empty when unknown.")
    source_arn = models.TextField(blank=True, db_default="", help_text="DeadLetterQueueSourceArn.")
    addressee = models.TextField(
        blank=True,
        db_default="",
        help_text="To whom EventBridge, SNS or Lambda could not deliver it: an ARN, or 'Lambda'. Empty if it came from a queue.",
    )
    state = models.TextField(choices=State, db_default=State.IN_QUEUE)

    body = models.TextField()
    body_bytes = models.IntegerField("size")
    attributes = models.JSONField(db_default={})
    system_attributes = models.JSONField(db_default={})
    sent_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(null=True, help_text="When SQS deletes the message.")
    receive_count = models.IntegerField("receives", db_default=0)

    first_seen_at = models.DateTimeField(db_default=Now())
    last_seen_at = models.DateTimeField(db_default=Now())
    views = models.IntegerField(
        "our views", db_default=1, help_text="How many of the receives were the console's scans."
    )
    missed = models.SmallIntegerField(db_default=0, help_text="Full scans since then that did not see it.")

    group = models.ForeignKey(FailureGroup, models.PROTECT, db_index=False, related_name="letters")
    # What the body says, if it is a job message. No foreign key: the jobs table belongs to others.
    job = models.ForeignKey(
        "jobs.Job",
        models.DO_NOTHING,
        null=True,
        db_constraint=False,
        db_index=False,
        related_name="dead_letters",
    )
    run_epoch = models.IntegerField("epoch", null=True)
    dead_letter_id = models.TextField(
        blank=True, db_default="", help_text="Set on copies that the console sent."
    )
    returned_from = models.ForeignKey(
        "self", models.PROTECT, null=True, db_index=False, related_name="returns_as"
    )
    returns = models.IntegerField(db_default=0, help_text="How often it came back after a replay.")

    told_at = models.DateTimeField(null=True, help_text="When people were alerted about it.")

    words = SearchVectorField(null=True)
    # The redaction under which the words were read; words of another redaction are not searched.
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
                fields=["expires_at"], name="dead_letters_expiring_idx", condition=Q(state="in_queue")
            ),
            models.Index(fields=["dlq"], name="dead_letters_untold_idx", condition=Q(told_at=None)),
            models.Index(fields=["words_of"], name="dead_letters_words_of_idx"),
            GinIndex(fields=["words"], name="dead_letters_words_idx"),
        ]

    def __str__(self) -> str:
        return str(self.pk)

    @property
    def is_to_others(self) -> bool:
        """Tell whether its addressee is named and no queue of ours. SNS names a topic, not the subscriber."""
        return bool(self.addressee) and ":sns:" not in self.addressee and not self.queue
