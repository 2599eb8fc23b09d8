"""What the console did after restores, and by what it recognises one."""

import django.contrib.postgres.functions
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0009_sweeps_locked"),
    ]

    operations = [
        migrations.CreateModel(
            name="Restore",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("began_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "finished_at",
                    models.DateTimeField(
                        help_text="Empty: it goes on when the command is run again.", null=True
                    ),
                ),
                ("actor", models.TextField(help_text="Such as 'operator:ada'.")),
                ("reason", models.TextField()),
                (
                    "fence",
                    models.IntegerField(help_text="Every run from before has a lower epoch than this."),
                ),
                ("fenced_running", models.IntegerField(db_default=0)),
                ("fenced_waiting", models.IntegerField(db_default=0)),
                ("fenced_ended", models.IntegerField(db_default=0)),
                ("told_completed", models.IntegerField(db_default=0)),
                (
                    "signs",
                    models.JSONField(
                        db_default=[], help_text="What the console had noticed, one sentence each."
                    ),
                ),
                ("depths", models.JSONField(db_default={})),
            ],
            options={
                "db_table": "restores",
                "ordering": ["-id"],
                "default_permissions": ("view",),
            },
        ),
        migrations.AlterField(
            model_name="jobevent",
            name="kind",
            field=models.TextField(
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
                    ("fenced", "fenced after a restore"),
                    ("late_result_rejected", "Late Result Rejected"),
                ]
            ),
        ),
        migrations.CreateModel(
            name="ServerMark",
            fields=[
                ("id", models.SmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("installation", models.UUIDField(db_default=django.contrib.postgres.functions.RandomUUID())),
                ("system_identifier", models.TextField(blank=True, db_default="")),
                ("timeline", models.IntegerField(null=True)),
                ("remembered_at", models.DateTimeField(null=True)),
                (
                    "signs",
                    models.JSONField(db_default=[], help_text="Signs of a restore, one sentence each."),
                ),
                ("noticed_at", models.DateTimeField(null=True)),
            ],
            options={
                "db_table": "server_mark",
                "default_permissions": (),
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("id", 1)), name="server_mark_one_row")
                ],
            },
        ),
    ]
