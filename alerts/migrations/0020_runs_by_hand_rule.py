"""The rule of runs that wait for an operator."""

from datetime import timedelta
from typing import Any

from django.db import migrations


def store(apps: Any, _schema_editor: Any) -> None:
    rule = apps.get_model("alerts", "Rule")
    rule.objects.bulk_create(
        [
            rule(
                name="runs_by_hand",
                threshold=0,
                hysteresis=0,
                severity="warning",
                reminder_interval=timedelta(hours=4),
                keep_firing_for=timedelta(minutes=15),
            )
        ],
        ignore_conflicts=True,
    )


class Migration(migrations.Migration):
    dependencies = [("alerts", "0019_failing_tasks_rule")]

    operations = [migrations.RunPython(store, migrations.RunPython.noop)]
