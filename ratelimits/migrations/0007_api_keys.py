"""API keys: a hash of each, and who made it, for what and until when."""

import uuid

import django.contrib.postgres.fields
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("ratelimits", "0006_cleanup_rolls_up"),
    ]

    operations = [
        migrations.CreateModel(
            name="ApiKey",
            fields=[
                (
                    "id",
                    models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False),
                ),
                (
                    "name",
                    models.TextField(
                        help_text="Who uses it; it stands on the timeline of each job it accepts."
                    ),
                ),
                (
                    "digest",
                    models.TextField(editable=False, help_text="Of the key, under a pepper.", unique=True),
                ),
                ("hint", models.TextField(help_text="The last characters of the key, to tell keys apart.")),
                (
                    "scopes",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(
                            choices=[
                                ("jobs:write", "jobs:write: accept jobs"),
                                ("worker", "worker: claim and run jobs"),
                                ("limits:check", "limits:check: ask the rate limiter for other services"),
                            ]
                        ),
                        size=None,
                    ),
                ),
                ("policy", models.TextField(help_text="The rate limit policy that counts its requests.")),
                ("expires_at", models.DateTimeField(null=True)),
                ("last_used_at", models.DateTimeField(null=True)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("created_by", models.TextField()),
                ("reason", models.TextField()),
                ("revoked_at", models.DateTimeField(null=True)),
                ("revoked_by", models.TextField(blank=True, db_default="")),
                ("revoke_reason", models.TextField(blank=True, db_default="")),
            ],
            options={
                "verbose_name": "API key",
                "db_table": "api_keys",
                "ordering": ["-created_at", "-id"],
                "permissions": [("revoke_apikey", "Can revoke an API key")],
                "default_permissions": ("add", "view"),
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("revoked_at", None)), fields=("name",), name="api_keys_one_a_name"
                    )
                ],
            },
        ),
    ]
