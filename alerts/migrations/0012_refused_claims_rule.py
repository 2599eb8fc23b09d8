"""The rule of jobs whose claim the database refuses."""

from datetime import timedelta
from typing import Any

from django.db import migrations


def store(apps: Any, _schema_editor: Any) -> None:
    rule = apps.get_model("alerts", "Rule")
    rule.objects.bulk_create(
        [
            rule(
                name="refused_claims",
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
    dependencies = [("alerts", "0011_audit_rule")]

    operations = [migrations.RunPython(store, migrations.RunPython.noop)]
