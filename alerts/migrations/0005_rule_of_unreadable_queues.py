"""The rule about queues that can't be read, as it is before anybody changes it."""

from datetime import timedelta
from typing import Any

from django.db import migrations


def store(apps: Any, _schema_editor: Any) -> None:
    rule = apps.get_model("alerts", "Rule")
    rule.objects.bulk_create(
        [rule(name="queue_unreadable", severity="critical", reminder_interval=timedelta(hours=4))],
        ignore_conflicts=True,
    )


class Migration(migrations.Migration):
    dependencies = [("alerts", "0004_sns_and_dead_man")]

    operations = [migrations.RunPython(store, migrations.RunPython.noop)]
