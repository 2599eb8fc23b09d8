"""The rules about unknown runs and about clocks of workers, with their defaults."""

from datetime import timedelta
from typing import Any

from django.db import migrations

NAMES = ("unknown_runs", "worker_clocks")


def store(apps: Any, _schema_editor: Any) -> None:
    rule = apps.get_model("alerts", "Rule")
    rule.objects.bulk_create(
        [
            rule(
                name=name,
                threshold=0,
                hysteresis=0,
                severity="warning",
                reminder_interval=timedelta(days=1),
                keep_firing_for=timedelta(minutes=15),
            )
            for name in NAMES
        ],
        ignore_conflicts=True,
    )


class Migration(migrations.Migration):
    dependencies = [("alerts", "0008_rule_of_restores")]

    operations = [migrations.RunPython(store, migrations.RunPython.noop)]
