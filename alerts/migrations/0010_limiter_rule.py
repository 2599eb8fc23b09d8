"""The rule of rate limits that are not shared, so that a store that comes and goes is one alert."""

from datetime import timedelta
from typing import Any

from django.db import migrations


def store(apps: Any, _schema_editor: Any) -> None:
    rule = apps.get_model("alerts", "Rule")
    rule.objects.bulk_create(
        [
            rule(
                name="limiter_degraded",
                threshold=None,
                hysteresis=0,
                severity="critical",
                reminder_interval=timedelta(hours=4),
                keep_firing_for=timedelta(minutes=15),
            )
        ],
        ignore_conflicts=True,
    )


class Migration(migrations.Migration):
    dependencies = [("alerts", "0009_worker_rules")]

    operations = [migrations.RunPython(store, migrations.RunPython.noop)]
