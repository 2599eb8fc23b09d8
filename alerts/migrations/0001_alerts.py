"""Alerts, at most one open a fingerprint."""

import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Alert",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "fingerprint",
                    models.TextField(
                        help_text="Names what is wrong; the same trouble has the same fingerprint."
                    ),
                ),
                (
                    "state",
                    models.TextField(
                        choices=[
                            ("firing", "Firing"),
                            ("acknowledged", "Acknowledged"),
                            ("resolved", "Resolved"),
                        ],
                        db_default="firing",
                    ),
                ),
                (
                    "severity",
                    models.TextField(
                        choices=[("info", "Info"), ("warning", "Warning"), ("critical", "Critical")]
                    ),
                ),
                ("title", models.TextField()),
                ("summary", models.TextField(blank=True, db_default="")),
                ("value", models.FloatField(help_text="The figure that was last measured.", null=True)),
                (
                    "threshold",
                    models.FloatField(help_text="The figure from which it counts as wrong.", null=True),
                ),
                ("link", models.TextField(blank=True, db_default="")),
                ("since", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("last_seen_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("resolved_at", models.DateTimeField(null=True)),
            ],
            options={
                "db_table": "alerts",
                "ordering": ["-since", "-id"],
                "default_permissions": ("view",),
                "indexes": [models.Index(fields=["-since", "-id"], name="alerts_newest_idx")],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("resolved_at", None)),
                        fields=("fingerprint",),
                        name="alerts_one_open_a_fingerprint",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("resolved_at__isnull", False), ("state", "resolved")),
                            models.Q(("resolved_at", None), ("state__in", ["firing", "acknowledged"])),
                            _connector="OR",
                        ),
                        name="alerts_resolved_has_a_time",
                    ),
                ],
            },
        ),
    ]
