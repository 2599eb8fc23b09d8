"""The rule of log-ins with a password beside single sign-on."""

from datetime import timedelta
from typing import Any

from django.db import migrations


def store(apps: Any, _schema_editor: Any) -> None:
    rule = apps.get_model("alerts", "Rule")
    rule.objects.bulk_create(
        [
            rule(
                name="local_log_ins",
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
    dependencies = [("alerts", "0017_slack_app")]

    operations = [migrations.RunPython(store, migrations.RunPython.noop)]
