"""Pausing a schedule and running one now, each with its own permission."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("opsconsole", "0004_hourly_figures")]

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
    ]
