"""Hourly rollups of the records, and what the processes of the limiter complain about."""

import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("ratelimits", "0004_presets"),
    ]

    operations = [
        migrations.CreateModel(
            name="LimiterTrouble",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "kind",
                    models.TextField(
                        choices=[
                            ("store away", "Store Away"),
                            ("untrusted proxy", "Untrusted Proxy"),
                            ("more processes than stated", "Processes"),
                        ]
                    ),
                ),
                ("process", models.TextField(help_text="Host and process id.")),
                ("detail", models.TextField()),
                ("since", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("seen_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "db_table": "rate_limit_troubles",
                "default_permissions": ("view",),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("kind", "process"), name="rate_limit_troubles_one_a_process"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="RateLimitHour",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("hour", models.DateTimeField(help_text="When it began, UTC.")),
                ("policy", models.TextField()),
                ("key_hash", models.TextField()),
                ("endpoint", models.TextField()),
                ("method", models.TextField()),
                ("outcome", models.TextField()),
                ("hits", models.BigIntegerField()),
            ],
            options={
                "verbose_name": "rate limit hour",
                "db_table": "rate_limit_hours",
                "default_permissions": ("view",),
                "indexes": [models.Index(fields=["key_hash", "-hour"], name="rate_limit_hours_client_idx")],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("hour", "policy", "key_hash", "endpoint", "method", "outcome"),
                        name="rate_limit_hours_one_row_a_kind",
                    )
                ],
            },
        ),
    ]
