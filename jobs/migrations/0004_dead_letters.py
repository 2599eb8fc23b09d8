"""Dead letters, the groups of their failures, and the ledger of what was done to each."""

import uuid

from django.conf import settings
from django.contrib.postgres.functions import RandomUUID
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import migrations, models
from django.db.models import Q
from django.db.models.functions import Now

ID = ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"))


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0003_console_tables"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="DeadLetterQueue",
            fields=[
                ID,
                ("url", models.TextField(unique=True)),
                (
                    "queues",
                    models.JSONField(
                        db_default=[], help_text="Names of the queues that send their dead letters here."
                    ),
                ),
                ("visible", models.BigIntegerField(null=True)),
                ("in_flight", models.BigIntegerField(null=True)),
                ("delayed", models.BigIntegerField(null=True)),
                ("retention_seconds", models.IntegerField(null=True)),
                ("read_at", models.DateTimeField(help_text="When the figures were read.", null=True)),
                ("checked_at", models.DateTimeField(help_text="When the last reading was tried.", null=True)),
                ("unreadable_since", models.DateTimeField(null=True)),
                (
                    "error",
                    models.TextField(blank=True, db_default="", help_text="Why the last reading failed."),
                ),
                ("scanned_at", models.DateTimeField(help_text="When the last scan began.", null=True)),
                (
                    "seen",
                    models.IntegerField(help_text="Distinct messages seen by the last scan.", null=True),
                ),
                (
                    "about",
                    models.BigIntegerField(
                        help_text="The approximate number of messages at that time.", null=True
                    ),
                ),
                (
                    "full",
                    models.BooleanField(
                        db_default=False, help_text="The last scan certainly saw every message."
                    ),
                ),
                ("scanning_until", models.DateTimeField(null=True)),
            ],
            options={
                "verbose_name": "dead letter queue",
                "db_table": "dead_letter_queues",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="FailureGroup",
            fields=[
                ID,
                ("fingerprint", models.TextField(unique=True)),
                (
                    "kind",
                    models.TextField(
                        choices=[
                            ("job_error", "error of its job"),
                            ("unreadable", "no worker could read it"),
                            ("given_reason", "reason given in its body"),
                            ("receives", "received too often"),
                            ("shape", "shape of its body"),
                        ]
                    ),
                ),
                (
                    "title",
                    models.TextField(help_text="The failure, without the parts that differ between letters."),
                ),
                (
                    "note",
                    models.TextField(
                        blank=True, db_default="", help_text="What is known about this failure."
                    ),
                ),
                ("first_seen_at", models.DateTimeField(db_default=Now())),
                ("last_seen_at", models.DateTimeField(db_default=Now())),
            ],
            options={
                "verbose_name": "failure group",
                "db_table": "failure_groups",
                "default_permissions": ("view", "change"),
                "indexes": [models.Index(fields=["-last_seen_at", "-id"], name="failure_groups_newest_idx")],
            },
        ),
        migrations.CreateModel(
            name="DeadLetter",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        db_default=RandomUUID(),
                        default=uuid.uuid4,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("message_id", models.TextField(help_text="The message id in SQS.")),
                (
                    "queue",
                    models.TextField(
                        blank=True, db_default="", help_text="The source queue; empty when unknown."
                    ),
                ),
                (
                    "source_arn",
                    models.TextField(blank=True, db_default="", help_text="DeadLetterQueueSourceArn."),
                ),
                (
                    "state",
                    models.TextField(
                        choices=[
                            ("in_queue", "in the queue"),
                            ("replaying", "being replayed"),
                            ("outcome_unknown", "outcome unknown"),
                            ("kept", "kept in the console"),
                            ("replayed", "Replayed"),
                            ("discarded", "Discarded"),
                            ("gone", "left the queue without the console"),
                        ],
                        db_default="in_queue",
                    ),
                ),
                ("body", models.TextField()),
                ("body_bytes", models.IntegerField(verbose_name="size")),
                ("attributes", models.JSONField(db_default={})),
                ("system_attributes", models.JSONField(db_default={})),
                ("sent_at", models.DateTimeField(null=True)),
                ("expires_at", models.DateTimeField(help_text="When SQS deletes the message.", null=True)),
                ("receive_count", models.IntegerField(db_default=0, verbose_name="receives")),
                ("first_seen_at", models.DateTimeField(db_default=Now())),
                ("last_seen_at", models.DateTimeField(db_default=Now())),
                (
                    "views",
                    models.IntegerField(
                        db_default=1,
                        help_text="How many of the receives were the console's scans.",
                        verbose_name="our views",
                    ),
                ),
                (
                    "missed",
                    models.SmallIntegerField(
                        db_default=0, help_text="Full scans since then that did not see it."
                    ),
                ),
                ("run_epoch", models.IntegerField(null=True, verbose_name="epoch")),
                (
                    "dead_letter_id",
                    models.TextField(
                        blank=True, db_default="", help_text="Set on copies that the console sent."
                    ),
                ),
                (
                    "returns",
                    models.IntegerField(db_default=0, help_text="How often it came back after a replay."),
                ),
                ("told_at", models.DateTimeField(help_text="When people were alerted about it.", null=True)),
                ("words", SearchVectorField(null=True)),
                ("words_of", models.TextField(blank=True, db_default="")),
                (
                    "returned_from",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=models.PROTECT,
                        related_name="returns_as",
                        to="jobs.deadletter",
                    ),
                ),
                (
                    "dlq",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=models.PROTECT,
                        related_name="letters",
                        to="jobs.deadletterqueue",
                    ),
                ),
                (
                    "group",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=models.PROTECT,
                        related_name="letters",
                        to="jobs.failuregroup",
                    ),
                ),
                (
                    "job",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=models.DO_NOTHING,
                        related_name="dead_letters",
                        to="jobs.job",
                    ),
                ),
            ],
            options={
                "verbose_name": "dead letter",
                "db_table": "dead_letters",
                "permissions": [
                    ("replay_deadletter", "Can replay a dead letter"),
                    ("edit_deadletter", "Can edit a dead letter before replaying it"),
                    ("discard_deadletter", "Can discard and restore a dead letter"),
                ],
                "default_permissions": ("view",),
                "indexes": [
                    models.Index(fields=["-first_seen_at", "-id"], name="dead_letters_newest_idx"),
                    models.Index(fields=["state", "-first_seen_at", "-id"], name="dead_letters_state_idx"),
                    models.Index(fields=["group", "-first_seen_at", "-id"], name="dead_letters_group_idx"),
                    models.Index(condition=Q(job__isnull=False), fields=["job"], name="dead_letters_job_idx"),
                    models.Index(
                        condition=Q(returned_from__isnull=False),
                        fields=["returned_from"],
                        name="dead_letters_returned_idx",
                    ),
                    models.Index(
                        condition=Q(state__in=["in_queue", "replaying", "discarded"]),
                        fields=["dlq", "last_seen_at"],
                        name="dead_letters_present_idx",
                    ),
                    models.Index(
                        condition=Q(state="in_queue"), fields=["expires_at"], name="dead_letters_expiring_idx"
                    ),
                    models.Index(condition=Q(told_at=None), fields=["dlq"], name="dead_letters_untold_idx"),
                    models.Index(fields=["words_of"], name="dead_letters_words_of_idx"),
                    GinIndex(fields=["words"], name="dead_letters_words_idx"),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("dlq", "message_id"), name="dead_letters_once_a_queue")
                ],
            },
        ),
        migrations.CreateModel(
            name="ReplayAttempt",
            fields=[
                ID,
                (
                    "action",
                    models.TextField(
                        choices=[
                            ("replay", "Replay"),
                            ("discard", "Discard"),
                            ("restore", "Restore"),
                            ("mark_sent", "mark as sent"),
                            ("mark_not_sent", "mark as not sent"),
                        ]
                    ),
                ),
                (
                    "state",
                    models.TextField(
                        choices=[
                            ("wanted", "waiting for the cluster"),
                            ("requeued", "job requeued, its message is in the outbox"),
                            ("sending", "being sent, intent recorded"),
                            ("sent", "sent, to be deleted"),
                            ("unknown", "outcome unknown"),
                            ("done", "Done"),
                            ("not_done", "not done"),
                        ]
                    ),
                ),
                ("actor", models.TextField(help_text="Such as 'operator:ada'.")),
                ("reason", models.TextField()),
                (
                    "from_copy",
                    models.BooleanField(db_default=False, help_text="It was no longer in its queue."),
                ),
                ("edited_body", models.TextField(help_text="The body that was sent instead.", null=True)),
                (
                    "job_epoch",
                    models.IntegerField(help_text="The run for which its job was requeued.", null=True),
                ),
                ("wanted_at", models.DateTimeField(db_default=Now())),
                ("sending_at", models.DateTimeField(null=True)),
                ("sent_at", models.DateTimeField(null=True)),
                ("new_message_id", models.TextField(blank=True, db_default="")),
                ("deleted_at", models.DateTimeField(null=True)),
                ("ended_at", models.DateTimeField(null=True)),
                (
                    "outcome",
                    models.TextField(blank=True, db_default="", help_text="Details of the result."),
                ),
                (
                    "letter",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=models.PROTECT,
                        related_name="attempts",
                        to="jobs.deadletter",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=models.DO_NOTHING,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "ledger entry",
                "verbose_name_plural": "ledger entries",
                "db_table": "dead_letter_ledger",
                "ordering": ["id"],
                "default_permissions": (),
                "indexes": [
                    models.Index(fields=["letter", "id"], name="dead_letter_ledger_letter_idx"),
                    models.Index(
                        condition=Q(state__in=["wanted", "requeued", "sending", "sent"]),
                        fields=["state", "id"],
                        name="dead_letter_ledger_open_idx",
                    ),
                    models.Index(
                        condition=~Q(new_message_id=""),
                        fields=["new_message_id"],
                        name="dead_letter_ledger_new_id_idx",
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=Q(state__in=["wanted", "requeued", "sending", "sent", "unknown"]),
                        fields=("letter",),
                        name="dead_letter_ledger_one_open",
                    )
                ],
            },
        ),
    ]
