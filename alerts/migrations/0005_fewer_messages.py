"""How long alerts keep firing, how often they send updates, and what an alert has not told yet."""

from datetime import timedelta
from typing import Any

from django.db import migrations, models

KEEP_FIRING_FOR = timedelta(minutes=15)
# Its end is decided by the recovery hold.
DECIDED_ELSEWHERE = "mass_staleness"


def keep_firing(apps: Any, _schema_editor: Any) -> None:
    rules = apps.get_model("alerts", "Rule").objects
    rules.exclude(name=DECIDED_ELSEWHERE).update(keep_firing_for=KEEP_FIRING_FOR)


class Migration(migrations.Migration):
    dependencies = [("alerts", "0004_channel_addresses")]

    operations = [
        migrations.AddField(
            model_name="rule",
            name="keep_firing_for",
            field=models.DurationField(
                db_default=timedelta(0),
                help_text="How long the problem must stay away for the alert to resolve.",
            ),
        ),
        migrations.AddField(
            model_name="rule",
            name="news_interval",
            field=models.DurationField(
                db_default=timedelta(minutes=15),
                help_text="The shortest time between updates about an alert.",
            ),
        ),
        migrations.AddField(
            model_name="alert",
            name="clear_since",
            field=models.DateTimeField(
                help_text="The time since which the problem is away, while the alert keeps firing.", null=True
            ),
        ),
        migrations.AddField(
            model_name="alert",
            name="told_severity",
            field=models.TextField(
                blank=True,
                choices=[("info", "Info"), ("warning", "Warning"), ("critical", "Critical")],
                db_default="",
            ),
        ),
        migrations.AddField(
            model_name="alert",
            name="held_news",
            field=models.TextField(
                blank=True, db_default="", help_text="News that waits for the next update to be due."
            ),
        ),
        migrations.AddField(
            model_name="alert",
            name="held_breaks_through",
            field=models.BooleanField(
                db_default=False,
                help_text="Whether the news is sent even if the alert is acknowledged or snoozed.",
            ),
        ),
        migrations.RunPython(keep_firing, migrations.RunPython.noop),
    ]
