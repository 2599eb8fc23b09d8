"""The rule of scheduled tasks that keep failing."""

from datetime import timedelta
from typing import Any

from django.db import migrations


def store(apps: Any, _schema_editor: Any) -> None:
    rule = apps.get_model("alerts", "Rule")
    rule.objects.bulk_create(
        [
            rule(
                name="failing_tasks",
                threshold=0,
                hysteresis=0,
                severity="warning",
                reminder_interval=timedelta(days=1),
                keep_firing_for=timedelta(minutes=15),
            )
        ],
        ignore_conflicts=True,
    )


class Migration(migrations.Migration):
    dependencies = [("alerts", "0018_local_log_ins_rule")]

    operations = [migrations.RunPython(store, migrations.RunPython.noop)]
