"""Pausing a schedule and running one now, each with its own permission, for the roles that have it."""

from typing import Any

from django.db import migrations

from opsconsole import roles


def grant(apps: Any, schema_editor: Any) -> None:
    roles.grant(apps)


class Migration(migrations.Migration):
    dependencies = [("opsconsole", "0005_hourly_figures")]

    operations = [
        migrations.AlterModelOptions(
            name="clusterprogress",
            options={
                "default_permissions": ("view",),
                "permissions": [
                    ("pause_schedule", "Can pause and resume a schedule"),
                    ("run_schedule", "Can run a schedule now"),
                ],
                "verbose_name": "cluster",
            },
        ),
        migrations.RunPython(grant, migrations.RunPython.noop),
    ]
