"""The answers that were given to requests which name an idempotency key."""

import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0014_line_index")]

    operations = [
        migrations.CreateModel(
            name="IdempotencyKey",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("caller", models.TextField(help_text="Whose key it is: two callers never share one.")),
                ("key", models.TextField()),
                ("request", models.TextField(help_text="A hash of what was asked for.")),
                ("answer", models.JSONField(null=True)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "db_table": "idempotency_keys",
                "default_permissions": (),
                "indexes": [models.Index(fields=["created_at"], name="idempotency_keys_age_idx")],
                "constraints": [
                    models.UniqueConstraint(fields=("caller", "key"), name="idempotency_keys_one_a_caller")
                ],
            },
        ),
    ]
