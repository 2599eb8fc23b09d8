"""Bulk operations, their frozen members, and the decisions about each."""

from django.conf import settings
from django.db import migrations, models
from django.db.models import Q
from django.db.models.functions import Now

ID = ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"))


class Migration(migrations.Migration):
    dependencies = [("jobs", "0004_dead_letters"), migrations.swappable_dependency(settings.AUTH_USER_MODEL)]

    operations = [
        migrations.CreateModel(
            name="BulkOperation",
            fields=[
                ID,
                (
                    "action",
                    models.TextField(
                        help_text="The action, such as 'requeue', as named in jobs.bulk.registry."
                    ),
                ),
                ("scope", models.TextField(help_text="What was chosen, in words.")),
                (
                    "query",
                    models.TextField(
                        blank=True, db_default="", help_text="The filters of the list at that time."
                    ),
                ),
                (
                    "capped",
                    models.BooleanField(
                        db_default=False, help_text="More rows matched than one operation may have."
                    ),
                ),
                (
                    "state",
                    models.TextField(
                        choices=[
                            ("preview", "waiting for confirmation"),
                            ("running", "Running"),
                            ("cancelled", "Cancelled"),
                            ("stopped", "stopped automatically"),
                            ("ended", "Ended"),
                        ],
                        db_default="preview",
                    ),
                ),
                (
                    "sentence",
                    models.TextField(blank=True, db_default="", help_text="Why it is in this state."),
                ),
                ("actor", models.TextField(help_text="Who began it, such as 'operator:ada'.")),
                ("reason", models.TextField(blank=True, db_default="")),
                ("created_at", models.DateTimeField(db_default=Now())),
                ("begun_at", models.DateTimeField(null=True)),
                (
                    "ended_at",
                    models.DateTimeField(help_text="When it ended, was cancelled or stopped.", null=True),
                ),
                ("total", models.IntegerField(db_default=0, verbose_name="members")),
                (
                    "will",
                    models.IntegerField(
                        db_default=0,
                        help_text="Members that the preview does not skip.",
                        verbose_name="to be done",
                    ),
                ),
                ("done", models.IntegerField(db_default=0)),
                ("skipped", models.IntegerField(db_default=0)),
                ("failed", models.IntegerField(db_default=0)),
                ("due_at", models.DateTimeField(db_default=Now())),
                ("runner", models.TextField(blank=True, db_default="")),
                ("leased_until", models.DateTimeField(db_default=Now())),
                (
                    "troubles",
                    models.IntegerField(db_default=0, help_text="Chunks that failed in a row."),
                ),
                ("trial_after", models.BigIntegerField(db_default=0)),
                ("trial_until", models.DateTimeField(null=True)),
                ("trial_passed", models.BooleanField(db_default=False)),
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
                "verbose_name": "bulk operation",
                "db_table": "bulk_operations",
                "ordering": ["-id"],
                "default_permissions": ("view",),
                "indexes": [
                    models.Index(
                        condition=Q(state="running"), fields=["due_at"], name="bulk_operations_due_idx"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="BulkMember",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "subject",
                    models.TextField(help_text="The id of a job or dead letter."),
                ),
                ("seen_status", models.TextField(blank=True, db_default="")),
                ("seen_epoch", models.IntegerField(null=True)),
                ("seen_reason", models.TextField(blank=True, db_default="")),
                (
                    "will",
                    models.BooleanField(db_default=False, help_text="The preview says that it will be done."),
                ),
                (
                    "outcome",
                    models.TextField(
                        choices=[
                            ("waiting", "Waiting"),
                            ("done", "Done"),
                            ("skipped", "Skipped"),
                            ("failed", "Failed"),
                        ],
                        db_default="waiting",
                    ),
                ),
                (
                    "sentence",
                    models.TextField(
                        blank=True, db_default="", help_text="What will happen, then what happened."
                    ),
                ),
                ("settled_at", models.DateTimeField(null=True)),
                (
                    "operation",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=models.CASCADE,
                        related_name="members",
                        to="jobs.bulkoperation",
                    ),
                ),
            ],
            options={
                "verbose_name": "member of a bulk operation",
                "verbose_name_plural": "members of bulk operations",
                "db_table": "bulk_members",
                "default_permissions": (),
                "indexes": [
                    models.Index(fields=["operation", "outcome", "id"], name="bulk_members_outcome_idx")
                ],
            },
        ),
        migrations.CreateModel(
            name="BulkEvent",
            fields=[
                ID,
                ("at", models.DateTimeField(db_default=Now())),
                (
                    "kind",
                    models.TextField(
                        choices=[
                            ("begun", "Begun"),
                            ("cancelled", "Cancelled"),
                            ("resumed", "Resumed"),
                            ("stopped", "stopped automatically"),
                            ("trial_passed", "trial passed"),
                            ("ended", "Ended"),
                        ]
                    ),
                ),
                ("actor", models.TextField()),
                ("reason", models.TextField(blank=True, db_default="")),
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
                (
                    "operation",
                    models.ForeignKey(
                        on_delete=models.DO_NOTHING, related_name="events", to="jobs.bulkoperation"
                    ),
                ),
            ],
            options={
                "verbose_name": "event of a bulk operation",
                "verbose_name_plural": "events of bulk operations",
                "db_table": "bulk_events",
                "ordering": ["id"],
                "default_permissions": (),
            },
        ),
    ]
