"""The contract table: created if it is missing, extended with the console's columns if it exists."""

import uuid

import django.db.models.functions
from django.contrib.postgres.functions import RandomUUID
from django.db import migrations, models

from opsconsole.kit.ddl import AddIndexOnline, EnsureTable

CREATE = """
CREATE TABLE IF NOT EXISTS rate_limit_requests (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    key text NOT NULL,
    endpoint text NOT NULL,
    method text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
)"""

OUR_COLUMNS = {
    "hits": "integer NOT NULL DEFAULT 1",
    "outcome": "text NOT NULL DEFAULT ''",
    "policy": "text NOT NULL DEFAULT ''",
}

RATE_LIMIT_REQUEST = migrations.CreateModel(
    name="RateLimitRequest",
    fields=[
        (
            "id",
            models.UUIDField(
                default=uuid.uuid4,
                db_default=RandomUUID(),
                editable=False,
                primary_key=True,
                serialize=False,
            ),
        ),
        ("key", models.TextField()),
        ("endpoint", models.TextField()),
        ("method", models.TextField()),
        ("created_at", models.DateTimeField(db_default=django.db.models.functions.Now())),
        ("hits", models.IntegerField(db_default=1, help_text="The number of requests that this row counts.")),
        ("outcome", models.TextField(blank=True, db_default="")),
        ("policy", models.TextField(blank=True, db_default="")),
    ],
    options={
        "db_table": "rate_limit_requests",
        "verbose_name": "rate limit record",
        "default_permissions": ("view",),
    },
)


class Migration(migrations.Migration):
    initial = True
    atomic = False

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[RATE_LIMIT_REQUEST],
            database_operations=[
                EnsureTable("rate_limit_requests", create=CREATE, columns=OUR_COLUMNS),
            ],
        ),
        AddIndexOnline(
            "ratelimitrequest",
            models.Index(fields=["key", "-created_at"], name="opsconsole_rate_limits_key_idx"),
        ),
        AddIndexOnline(
            "ratelimitrequest",
            models.Index(fields=["created_at"], name="opsconsole_rate_limits_age_idx"),
        ),
    ]
