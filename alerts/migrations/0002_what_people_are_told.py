"""Notifications, deliveries to channels, rules and monitors; the console's own tables alone."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("alerts", "0001_alerts"),
    ]

    operations = [
        migrations.CreateModel(
            name="Attempt",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "outcome",
                    models.TextField(
                        choices=[
                            ("delivered", "Delivered"),
                            ("again", "to be tried again"),
                            ("unknown", "outcome unknown"),
                            ("malformed", "message refused"),
                            ("broken", "refused for good"),
                        ]
                    ),
                ),
                ("answer", models.TextField(blank=True, db_default="")),
            ],
            options={
                "db_table": "alert_attempts",
                "ordering": ["id"],
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Channel",
            fields=[
                ("name", models.TextField(primary_key=True, serialize=False)),
                (
                    "failures",
                    models.IntegerField(
                        db_default=0, help_text="Attempts in a row that did not get through."
                    ),
                ),
                ("failing_since", models.DateTimeField(null=True)),
                (
                    "broken_since",
                    models.DateTimeField(
                        help_text="It gave a permanent answer: nothing is sent to it.", null=True
                    ),
                ),
                ("broken_why", models.TextField(blank=True, db_default="")),
                ("last_ok_at", models.DateTimeField(null=True)),
                ("last_attempt_at", models.DateTimeField(null=True)),
                ("last_answer", models.TextField(blank=True, db_default="")),
                ("next_post_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("leased_until", models.DateTimeField(null=True)),
                ("lease", models.UUIDField(help_text="Names the sender that holds it.", null=True)),
            ],
            options={
                "db_table": "alert_channels",
                "ordering": ["name"],
                "permissions": [("test_channel", "Can send a test message to a channel")],
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="Delivery",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("channel", models.TextField()),
                (
                    "state",
                    models.TextField(
                        choices=[
                            ("waiting", "Waiting"),
                            ("sent", "Sent"),
                            ("handed_over", "given to the fallback channel"),
                        ],
                        db_default="waiting",
                    ),
                ),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "in_doubt",
                    models.BooleanField(
                        db_default=False, help_text="It was posted, and nobody knows with what outcome."
                    ),
                ),
                ("may_be_repeat", models.BooleanField(db_default=False)),
                (
                    "instead_of",
                    models.TextField(
                        blank=True, db_default="", help_text="The channel that could not take it."
                    ),
                ),
                ("settled_at", models.DateTimeField(null=True)),
            ],
            options={
                "db_table": "alert_deliveries",
                "ordering": ["id"],
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Gauge",
            fields=[
                ("fingerprint", models.TextField(primary_key=True, serialize=False)),
                ("rule", models.TextField()),
                ("value", models.FloatField(null=True)),
                ("measured_at", models.DateTimeField(null=True)),
                ("unknown_since", models.DateTimeField(null=True)),
                ("unknown_why", models.TextField(blank=True, db_default="")),
            ],
            options={
                "db_table": "alert_gauges",
                "ordering": ["fingerprint"],
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Monitor",
            fields=[
                ("name", models.TextField(primary_key=True, serialize=False)),
                ("interval", models.DurationField()),
                ("last_ok_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "db_table": "alert_monitors",
                "ordering": ["name"],
                "permissions": [("forget_monitor", "Can forget a monitor that is no longer run")],
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="Notification",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "kind",
                    models.TextField(
                        choices=[
                            ("firing", "Firing"),
                            ("news", "News"),
                            ("reminder", "Reminder"),
                            ("resolved", "Resolved"),
                            ("test", "Test"),
                        ]
                    ),
                ),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "severity",
                    models.TextField(
                        choices=[("info", "Info"), ("warning", "Warning"), ("critical", "Critical")]
                    ),
                ),
                ("title", models.TextField()),
                ("summary", models.TextField(blank=True, db_default="")),
                (
                    "news",
                    models.TextField(
                        blank=True, db_default="", help_text="What is new since people were last told."
                    ),
                ),
                ("value", models.FloatField(null=True)),
                ("threshold", models.FloatField(null=True)),
                ("link", models.TextField(blank=True, db_default="")),
                ("facts", models.JSONField(blank=True, db_default=[])),
                ("links", models.JSONField(blank=True, db_default=[])),
                (
                    "addressed_at",
                    models.DateTimeField(
                        help_text="When the sender made a delivery a channel of it.", null=True
                    ),
                ),
            ],
            options={
                "db_table": "alert_notifications",
                "ordering": ["id"],
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Rule",
            fields=[
                ("name", models.TextField(primary_key=True, serialize=False)),
                ("enabled", models.BooleanField(db_default=True)),
                (
                    "threshold",
                    models.FloatField(
                        help_text="It fires above this figure. None: the threshold is set elsewhere.",
                        null=True,
                    ),
                ),
                (
                    "hysteresis",
                    models.FloatField(
                        db_default=0,
                        help_text="How far below the threshold the figure must fall until it resolves.",
                    ),
                ),
                (
                    "severity",
                    models.TextField(
                        choices=[("info", "Info"), ("warning", "Warning"), ("critical", "Critical")]
                    ),
                ),
                (
                    "reminder_interval",
                    models.DurationField(help_text="How often people hear of it while it fires."),
                ),
                ("changed_at", models.DateTimeField(null=True)),
                ("changed_by", models.TextField(blank=True, db_default="")),
                ("reason", models.TextField(blank=True, db_default="")),
            ],
            options={
                "db_table": "alert_rules",
                "ordering": ["name"],
                "default_permissions": ("view", "change"),
            },
        ),
        migrations.AlterModelOptions(
            name="alert",
            options={
                "default_permissions": ("view",),
                "ordering": ["-since", "-id"],
                "permissions": [
                    ("acknowledge_alert", "Can acknowledge an alert"),
                    ("snooze_alert", "Can snooze an alert"),
                    ("resolve_alert", "Can resolve an alert by hand"),
                ],
            },
        ),
        migrations.RemoveConstraint(
            model_name="alert",
            name="alerts_resolved_has_a_time",
        ),
        migrations.AddField(
            model_name="alert",
            name="facts",
            field=models.JSONField(blank=True, db_default=[], help_text="Pairs of a label and a text."),
        ),
        migrations.AddField(
            model_name="alert",
            name="handled_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="alert",
            name="handled_by",
            field=models.TextField(blank=True, db_default="", help_text="Who decided about it last."),
        ),
        migrations.AddField(
            model_name="alert",
            name="handled_reason",
            field=models.TextField(blank=True, db_default=""),
        ),
        migrations.AddField(
            model_name="alert",
            name="links",
            field=models.JSONField(blank=True, db_default=[], help_text="Pairs of a label and an address."),
        ),
        migrations.AddField(
            model_name="alert",
            name="rule",
            field=models.TextField(
                blank=True, db_default="", help_text="The rule that it belongs to, which may be none of ours."
            ),
        ),
        migrations.AddField(
            model_name="alert",
            name="snoozed_until",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="alert",
            name="told_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="alert",
            name="told_value",
            field=models.FloatField(null=True),
        ),
        migrations.AddField(
            model_name="alert",
            name="unknown_since",
            field=models.DateTimeField(help_text="The figure can't be read since then.", null=True),
        ),
        migrations.AddField(
            model_name="alert",
            name="unknown_why",
            field=models.TextField(blank=True, db_default=""),
        ),
        migrations.AlterField(
            model_name="alert",
            name="link",
            field=models.TextField(
                blank=True, db_default="", help_text="Where to look, a path within the console."
            ),
        ),
        migrations.AlterField(
            model_name="alert",
            name="state",
            field=models.TextField(
                choices=[
                    ("firing", "Firing"),
                    ("acknowledged", "Acknowledged"),
                    ("snoozed", "Snoozed"),
                    ("resolved", "Resolved"),
                ],
                db_default="firing",
            ),
        ),
        migrations.AlterField(
            model_name="alert",
            name="threshold",
            field=models.FloatField(help_text="It counts as wrong above this figure.", null=True),
        ),
        migrations.AddConstraint(
            model_name="alert",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("resolved_at__isnull", False), ("state", "resolved")),
                    models.Q(("resolved_at", None), ("state__in", ["firing", "acknowledged", "snoozed"])),
                    _connector="OR",
                ),
                name="alerts_resolved_has_a_time",
            ),
        ),
        migrations.AddConstraint(
            model_name="alert",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state", "snoozed"), _negated=True),
                    ("snoozed_until__isnull", False),
                    _connector="OR",
                ),
                name="alerts_snoozed_has_an_end",
            ),
        ),
        migrations.AddField(
            model_name="attempt",
            name="delivery",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="attempts",
                to="alerts.delivery",
            ),
        ),
        migrations.AddField(
            model_name="notification",
            name="alert",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="notifications",
                to="alerts.alert",
            ),
        ),
        migrations.AddField(
            model_name="delivery",
            name="notification",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="deliveries",
                to="alerts.notification",
            ),
        ),
        migrations.AddIndex(
            model_name="notification",
            index=models.Index(
                condition=models.Q(("addressed_at", None)), fields=["id"], name="alert_notifications_new_idx"
            ),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("state", "waiting")),
                fields=["channel", "id"],
                name="alert_deliveries_waiting_idx",
            ),
        ),
        migrations.AddConstraint(
            model_name="delivery",
            constraint=models.UniqueConstraint(
                fields=("notification", "channel"), name="alert_deliveries_one_a_channel"
            ),
        ),
    ]
