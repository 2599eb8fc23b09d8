"""The rule about a database that was restored or failed over."""

from datetime import timedelta
from typing import Any

from django.db import migrations


def store(apps: Any, _schema_editor: Any) -> None:
    rule = apps.get_model("alerts", "Rule")
    made = rule(
        name="database_restored",
        severity="critical",
        reminder_interval=timedelta(hours=1),
        keep_firing_for=timedelta(minutes=15),
    )
    rule.objects.bulk_create([made], ignore_conflicts=True)


class Migration(migrations.Migration):
    dependencies = [("alerts", "0007_refused_runs_rule")]

    operations = [migrations.RunPython(store, migrations.RunPython.noop)]
