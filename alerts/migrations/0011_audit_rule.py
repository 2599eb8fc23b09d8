"""The rule of an audit or a timeline that does not match its seals."""

from datetime import timedelta
from typing import Any

from django.db import migrations


def store(apps: Any, _schema_editor: Any) -> None:
    rule = apps.get_model("alerts", "Rule")
    rule.objects.bulk_create(
        [
            rule(
                name="audit_broken",
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
    dependencies = [("alerts", "0010_limiter_rule")]

    operations = [migrations.RunPython(store, migrations.RunPython.noop)]
