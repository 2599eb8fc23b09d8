"""The console's own tables: the timeline, the outbox, the sweeps and what steers them."""

import uuid

import django.contrib.postgres.functions
import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0001_contract_tables"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="JobEvent",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "kind",
                    models.TextField(
                        choices=[
                            ("enqueued", "Enqueued"),
                            ("claimed", "Claimed"),
                            ("progress", "Progress"),
                            ("completed", "Completed"),
                            ("retry_scheduled", "Retry Scheduled"),
                            ("failed", "Failed"),
                            ("recovered", "Recovered"),
                            ("quarantined", "Quarantined"),
                            ("requeued", "Requeued"),
                            ("released", "Released"),
                            ("cancelled", "Cancelled"),
                            ("resent", "Resent"),
                            ("late_result_rejected", "Late Result Rejected"),
                        ]
                    ),
                ),
                ("run_epoch", models.IntegerField(null=True, verbose_name="epoch")),
                ("actor", models.TextField(help_text="Such as 'worker:host-1', 'sweep' or 'operator:ada'.")),
                ("reason", models.TextField(blank=True, db_default="")),
                ("details", models.JSONField(db_default={})),
            ],
            options={
                "verbose_name": "event",
                "db_table": "job_events",
                "ordering": ["id"],
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="Outbox",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("run_epoch", models.IntegerField(verbose_name="epoch")),
                (
                    "destination",
                    models.TextField(
                        choices=[("queue", "Queue"), ("dlq", "dead letter queue")], db_default="queue"
                    ),
                ),
                ("queue", models.TextField(db_default="default")),
                ("reason", models.TextField(blank=True, db_default="")),
                ("retry", models.BooleanField(db_default=False)),
                (
                    "dead_letter_id",
                    models.UUIDField(
                        db_default=django.contrib.postgres.functions.RandomUUID(), default=uuid.uuid4
                    ),
                ),
                (
                    "state",
                    models.TextField(
                        choices=[
                            ("waiting", "Waiting"),
                            ("sent", "Sent"),
                            ("dropped", "dropped: its run was no longer current"),
                            ("refused", "refused by SQS for good"),
                        ],
                        db_default="waiting",
                    ),
                ),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("available_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("attempts", models.IntegerField(db_default=0)),
                (
                    "resends",
                    models.IntegerField(db_default=0, help_text="How often it was re-armed as lost."),
                ),
                ("sent_at", models.DateTimeField(null=True)),
                ("message_id", models.TextField(blank=True, db_default="")),
                ("last_error", models.TextField(blank=True, db_default="")),
            ],
            options={
                "verbose_name": "outgoing message",
                "db_table": "outbox",
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="QueueState",
            fields=[
                ("name", models.TextField(primary_key=True, serialize=False)),
                ("visible", models.BigIntegerField(null=True)),
                ("in_flight", models.BigIntegerField(null=True)),
                ("delayed", models.BigIntegerField(null=True)),
                ("visibility_timeout_seconds", models.IntegerField(null=True)),
                ("read_at", models.DateTimeField(help_text="When the figures were read.", null=True)),
                ("checked_at", models.DateTimeField(help_text="When reading was last tried.", null=True)),
                ("error", models.TextField(blank=True, db_default="", help_text="Why the last try failed.")),
            ],
            options={
                "verbose_name": "queue",
                "db_table": "queue_state",
            },
        ),
        migrations.CreateModel(
            name="RecoveryControl",
            fields=[
                ("id", models.SmallIntegerField(default=1, primary_key=True, serialize=False)),
                (
                    "mode",
                    models.TextField(
                        choices=[
                            ("observe", "observe: shows what it would do"),
                            ("armed", "armed: recovers by itself"),
                        ],
                        db_default="observe",
                    ),
                ),
                (
                    "cutoff",
                    models.DateTimeField(
                        help_text="Runs that began before it are handled by hand only.", null=True
                    ),
                ),
                ("changed_at", models.DateTimeField(null=True)),
                ("changed_by", models.TextField(blank=True, db_default="")),
                ("reason", models.TextField(blank=True, db_default="")),
                (
                    "outage_ended_at",
                    models.DateTimeField(help_text="Nobody could beat before this time.", null=True),
                ),
                ("hold_started_at", models.DateTimeField(null=True)),
                (
                    "hold_until",
                    models.DateTimeField(
                        help_text="Mass staleness: nothing is recovered until then.", null=True
                    ),
                ),
                ("forgiven_before", models.DateTimeField(null=True)),
            ],
            options={
                "verbose_name": "recovery control",
                "db_table": "recovery_control",
                "permissions": [("arm_recovery", "Can arm, disarm and release automatic recovery")],
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="Sweep",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "trigger",
                    models.TextField(help_text="Who asked for it: 'schedule', 'command' or 'operator:NAME'."),
                ),
                (
                    "mode",
                    models.TextField(
                        choices=[
                            ("armed", "recovered what it found"),
                            ("observe", "observed only"),
                            ("held", "held: mass staleness"),
                        ]
                    ),
                ),
                ("started_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("finished_at", models.DateTimeField(null=True)),
                ("found", models.IntegerField(db_default=0)),
                ("requeued", models.IntegerField(db_default=0)),
                ("quarantined", models.IntegerField(db_default=0)),
                ("skipped", models.IntegerField(db_default=0)),
                ("errors", models.IntegerField(db_default=0)),
                ("resent", models.IntegerField(db_default=0, verbose_name="lost messages re-sent")),
                ("note", models.TextField(blank=True, db_default="")),
                (
                    "details",
                    models.JSONField(db_default={}, help_text="The first skips and errors, a sentence each."),
                ),
            ],
            options={
                "db_table": "sweeps",
                "ordering": ["-started_at", "-id"],
                "default_permissions": ("view",),
            },
        ),
        migrations.AddField(
            model_name="jobevent",
            name="job",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="events",
                to="jobs.job",
            ),
        ),
        migrations.AddField(
            model_name="jobevent",
            name="user",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="outbox",
            name="job",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="outbox",
                to="jobs.job",
            ),
        ),
        migrations.AddConstraint(
            model_name="recoverycontrol",
            constraint=models.CheckConstraint(condition=models.Q(("id", 1)), name="recovery_control_one_row"),
        ),
        migrations.AddIndex(
            model_name="sweep",
            index=models.Index(fields=["-started_at", "-id"], name="sweeps_newest_idx"),
        ),
        migrations.AddIndex(
            model_name="jobevent",
            index=models.Index(fields=["job", "id"], name="job_events_job_idx"),
        ),
        migrations.AddIndex(
            model_name="outbox",
            index=models.Index(
                condition=models.Q(("state", "waiting")),
                fields=["available_at", "id"],
                name="outbox_waiting_idx",
            ),
        ),
        migrations.AddConstraint(
            model_name="outbox",
            constraint=models.UniqueConstraint(
                fields=("job", "run_epoch", "destination"), name="outbox_once_a_run_and_destination"
            ),
        ),
    ]
