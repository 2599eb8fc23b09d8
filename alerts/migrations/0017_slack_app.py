"""Who somebody in Slack is here, the clicks that were answered, and the queues about which a channel is told."""

from __future__ import annotations

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models
from django.db.models.functions import Now


class Migration(migrations.Migration):
    dependencies = [
        ("alerts", "0016_old_transaction_rule"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="SlackClick",
            fields=[
                ("signature", models.TextField(primary_key=True, serialize=False)),
                ("at", models.DateTimeField(db_default=Now())),
            ],
            options={"db_table": "alert_slack_clicks", "default_permissions": ()},
        ),
        migrations.CreateModel(
            name="SlackPerson",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("team", models.TextField(help_text="The workspace.")),
                ("member", models.TextField(help_text="The member id.")),
                (
                    "name",
                    models.TextField(blank=True, db_default="", help_text="As Slack last called the person."),
                ),
                ("noticed_at", models.DateTimeField(db_default=Now())),
                ("clicked_at", models.DateTimeField(db_default=Now())),
                (
                    "user",
                    models.OneToOneField(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="slack_person",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "person in Slack",
                "verbose_name_plural": "people in Slack",
                "db_table": "alert_slack_people",
                "ordering": ["-id"],
                "permissions": [("link_slackperson", "Can link people in Slack to accounts")],
                "default_permissions": ("view",),
            },
        ),
        migrations.AddConstraint(
            "slackperson",
            models.UniqueConstraint(fields=("team", "member"), name="alert_slack_people_one_a_member"),
        ),
        migrations.AddIndex("slackclick", models.Index(fields=["at"], name="alert_slack_clicks_at_idx")),
        migrations.AddField(
            "channel",
            "queues",
            models.JSONField(
                blank=True,
                db_default=[],
                help_text="The queues whose alerts it is told. Empty: all alerts, also those about no queue.",
            ),
        ),
    ]
