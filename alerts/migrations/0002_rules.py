"""The rules with their defaults."""

from datetime import timedelta
from typing import Any

from django.db import migrations

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
RULES = [
    # name, threshold, hysteresis, severity, reminder interval
    ("dlq_not_empty", 0, 0, "critical", 4 * HOUR),
    ("dlq_unreadable", 10, 0, "critical", 4 * HOUR),
    ("dead_letters_expiring", 0, 0, "critical", 4 * HOUR),
    ("quarantined_jobs", 0, 0, "warning", DAY),
    ("stale_jobs_day", 5, 1, "warning", DAY),
    ("mass_staleness", None, 0, "critical", HOUR),
    ("hung_runs", None, 0, "warning", DAY),
    ("no_live_worker", 0, 0, "critical", HOUR),
    ("outbox_stuck", 0, 0, "critical", HOUR),
    ("monitor_late", None, 0, "critical", HOUR),
    ("limited_requests_hour", 100, 10, "warning", 4 * HOUR),
    ("gauge_unreadable", 15, 0, "warning", 4 * HOUR),
    ("queue_unreadable", None, 0, "critical", 4 * HOUR),
]


def store(apps: Any, _schema_editor: Any) -> None:
    rule = apps.get_model("alerts", "Rule")
    rule.objects.bulk_create(
        [
            rule(
                name=name,
                threshold=threshold,
                hysteresis=hysteresis,
                severity=severity,
                reminder_interval=interval,
            )
            for name, threshold, hysteresis, severity, interval in RULES
        ],
        ignore_conflicts=True,
    )


class Migration(migrations.Migration):
    dependencies = [("alerts", "0001_console_tables")]

    operations = [migrations.RunPython(store, migrations.RunPython.noop)]
