"""The rule of queues whose visibility timeout is shorter than runs."""

from datetime import timedelta
from typing import Any

from django.db import migrations


def store(apps: Any, _schema_editor: Any) -> None:
    rule = apps.get_model("alerts", "Rule")
    rule.objects.bulk_create(
        [
            rule(
                name="short_visibility",
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
    dependencies = [("alerts", "0013_facts_of_a_redaction")]

    operations = [migrations.RunPython(store, migrations.RunPython.noop)]
