"""Rollups of the runs that ended, for the trends, and how far they have counted."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0024_letters_may_go"),
    ]

    operations = [
        migrations.CreateModel(
            name="RunRollup",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("minutes", models.SmallIntegerField()),
                ("start", models.DateTimeField()),
                (
                    "dimension",
                    models.TextField(
                        choices=[
                            ("all", "all runs"),
                            ("queue", "Queue"),
                            ("priority", "Priority"),
                            ("customer", "Customer"),
                            ("worker", "Worker"),
                        ]
                    ),
                ),
                ("value", models.TextField(blank=True, db_default="")),
                ("completed", models.IntegerField(db_default=0)),
                ("failed", models.IntegerField(db_default=0)),
                ("retried", models.IntegerField(db_default=0)),
                ("lost", models.IntegerField(db_default=0)),
                ("waits", models.JSONField(db_default={})),
                ("runs", models.JSONField(db_default={})),
                ("first_event", models.BigIntegerField()),
                ("last_event", models.BigIntegerField()),
            ],
            options={
                "verbose_name": "rollup of runs",
                "verbose_name_plural": "rollups of runs",
                "db_table": "run_rollups",
                "default_permissions": (),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("minutes", "dimension", "start", "value"), name="run_rollups_once"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="RunRollupState",
            fields=[
                ("id", models.SmallIntegerField(db_default=1, primary_key=True, serialize=False)),
                (
                    "seal",
                    models.BigIntegerField(
                        db_default=0, help_text="The last seal of the timelines whose events are counted."
                    ),
                ),
                ("counted_from", models.DateTimeField(null=True)),
                (
                    "counted_until",
                    models.DateTimeField(
                        help_text="Every event before it that is visible is counted.", null=True
                    ),
                ),
                (
                    "turned_at",
                    models.DateTimeField(help_text="When it was last looked for events.", null=True),
                ),
            ],
            options={
                "db_table": "run_rollup_state",
                "default_permissions": (),
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("id", 1)), name="run_rollup_state_one_row")
                ],
            },
        ),
    ]
