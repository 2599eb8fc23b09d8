"""Channels that are added, routed and muted on pages. The table has a row per channel, so adding columns takes no time."""

from __future__ import annotations

from django.db import migrations, models

SEVERITIES = [("info", "Info"), ("warning", "Warning"), ("critical", "Critical")]


class Migration(migrations.Migration):
    dependencies = [("alerts", "0014_short_visibility_rule")]

    operations = [
        migrations.AlterModelOptions(
            name="channel",
            options={
                "default_permissions": ("view",),
                "ordering": ["name"],
                "permissions": [
                    ("test_channel", "Can send a test message to a channel"),
                    ("configure_channel", "Can add, route, mute and remove channels"),
                ],
            },
        ),
        migrations.AddField(
            "channel",
            "secret",
            models.TextField(
                blank=True,
                db_default="",
                help_text="The encrypted address of a channel that was added on a page. Empty: the environment has it.",
            ),
        ),
        migrations.AddField(
            "channel", "least_severity", models.TextField(choices=SEVERITIES, db_default="info")
        ),
        migrations.AddField(
            "channel",
            "rules",
            models.JSONField(
                blank=True, db_default=[], help_text="The rules whose alerts it is told. Empty: all alerts."
            ),
        ),
        migrations.AddField(
            "channel",
            "from_hour",
            models.SmallIntegerField(
                null=True, help_text="It is told from this hour of the day (UTC) on. Empty: all day."
            ),
        ),
        migrations.AddField(
            "channel",
            "until_hour",
            models.SmallIntegerField(null=True, help_text="It is told before this hour (UTC)."),
        ),
        migrations.AddField("channel", "muted_until", models.DateTimeField(null=True)),
        migrations.AddField("channel", "muted_by", models.TextField(blank=True, db_default="")),
        migrations.AddField("channel", "muted_why", models.TextField(blank=True, db_default="")),
    ]
