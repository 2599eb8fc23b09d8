"""Messages of Amazon SNS that had their effect, and pings of dead-man's switches."""

import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("alerts", "0003_rules_of_the_contract"),
    ]

    operations = [
        migrations.CreateModel(
            name="DeadManPing",
            fields=[
                ("name", models.TextField(primary_key=True, serialize=False)),
                (
                    "reported",
                    models.DateTimeField(help_text="The last success that was reported.", null=True),
                ),
                ("pinged_at", models.DateTimeField(null=True)),
                ("ok_at", models.DateTimeField(help_text="When a ping was last taken.", null=True)),
                ("failing_since", models.DateTimeField(null=True)),
                ("answer", models.TextField(blank=True, db_default="")),
            ],
            options={
                "verbose_name": "dead-man's switch",
                "verbose_name_plural": "dead-man's switches",
                "db_table": "alert_dead_man_pings",
                "ordering": ["name"],
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="SnsMessage",
            fields=[
                ("message_id", models.TextField(primary_key=True, serialize=False)),
                ("kind", models.TextField()),
                ("topic", models.TextField()),
                ("about", models.TextField(help_text="The fingerprint of the alert that it is about.")),
                (
                    "happened_at",
                    models.DateTimeField(help_text="When the alarm changed, or the message was sent."),
                ),
                ("received_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("effect", models.TextField(blank=True, db_default="")),
            ],
            options={
                "verbose_name": "message from SNS",
                "verbose_name_plural": "messages from SNS",
                "db_table": "alert_sns_messages",
                "ordering": ["-received_at"],
                "default_permissions": ("view",),
                "indexes": [
                    models.Index(fields=["about", "-happened_at"], name="alert_sns_messages_about_idx")
                ],
            },
        ),
    ]
