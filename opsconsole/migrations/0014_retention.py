"""What retention removed, and the sizes of tables per day. Administrators may open the page Data."""

from __future__ import annotations

from typing import Any

from django.apps import apps as installed
from django.contrib.auth.management import create_permissions
from django.db import migrations, models
from django.db.models.functions import Now

from opsconsole.sign_in.roles import ADMINISTRATOR

ID = ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"))


def grant(apps: Any, schema_editor: Any) -> None:
    create_permissions(installed.get_app_config("opsconsole"), apps=apps, verbosity=0)
    page = apps.get_model("auth", "Permission").objects.get(
        content_type__app_label="opsconsole", codename="view_tablesize"
    )
    for role in apps.get_model("auth", "Group").objects.filter(name=ADMINISTRATOR):
        role.permissions.add(page)


class Migration(migrations.Migration):
    dependencies = [("opsconsole", "0013_channel_role")]

    operations = [
        migrations.CreateModel(
            name="Removal",
            fields=[
                ID,
                ("at", models.DateTimeField(db_default=Now())),
                ("subject", models.TextField(help_text="What was removed, such as 'sweeps'.")),
                ("rows", models.BigIntegerField()),
                ("by", models.TextField(help_text="'schedule', or who ran the command.")),
            ],
            options={
                "db_table": "retention_removals",
                "ordering": ["-id"],
                "default_permissions": (),
                "indexes": [models.Index(fields=["subject", "-id"], name="retention_removals_last_idx")],
            },
        ),
        migrations.CreateModel(
            name="TableSize",
            fields=[
                ID,
                ("day", models.DateField()),
                ("table", models.TextField()),
                ("bytes", models.BigIntegerField(help_text="The table with its indexes.")),
                ("index_bytes", models.BigIntegerField()),
                (
                    "rows",
                    models.BigIntegerField(
                        null=True, help_text="PostgreSQL's estimate; empty where it has none."
                    ),
                ),
            ],
            options={
                "db_table": "table_sizes",
                "ordering": ["-day", "table"],
                "default_permissions": ("view",),
                "constraints": [
                    models.UniqueConstraint(fields=["table", "day"], name="table_sizes_once_a_day")
                ],
            },
        ),
        migrations.RunPython(grant, migrations.RunPython.noop),
    ]
