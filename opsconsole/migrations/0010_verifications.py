"""What the verifications of the installation found, and the permissions that roles lacked since they were created."""

from typing import Any

import django.db.models.functions.datetime
from django.db import migrations, models

from opsconsole.sign_in import roles


def grant(apps: Any, schema_editor: Any) -> None:
    roles.grant(apps)


class Migration(migrations.Migration):
    # After all that brought a permission since the roles were created.
    dependencies = [
        ("opsconsole", "0009_sealed_ledgers"),
        ("jobs", "0018_titles_of_a_redaction"),
        ("alerts", "0012_refused_claims_rule"),
        ("ratelimits", "0011_freed_clients"),
    ]

    operations = [
        migrations.CreateModel(
            name="Verification",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("began_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "ended_at",
                    models.DateTimeField(
                        help_text="Empty while it goes on, or when its process was ended.", null=True
                    ),
                ),
                ("by", models.TextField(help_text="Who asked for it.")),
                (
                    "results",
                    models.JSONField(
                        default=list, help_text="The answers in the order of the list of checks."
                    ),
                ),
            ],
            options={
                "db_table": "verifications",
                "ordering": ["-id"],
                "permissions": [("verify", "Can verify the installation")],
                "default_permissions": ("view",),
            },
        ),
        migrations.RunPython(grant, migrations.RunPython.noop),
    ]
