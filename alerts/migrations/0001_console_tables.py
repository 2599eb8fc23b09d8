"""Alerts, rules and gauges, notifications and their deliveries, channels, monitors and SNS messages."""

from django.db import migrations, models
from django.db.models import Q
from django.db.models.functions import Now

ID = ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"))


class Migration(migrations.Migration):
    initial = True

    operations = [
        migrations.CreateModel(
            name="Alert",
            fields=[
                ID,
                (
                    "fingerprint",
                    models.TextField(
                        help_text="Identifies the problem: the same problem always has the same fingerprint."
                    ),
                ),
                (
                    "rule",
                    models.TextField(
                        blank=True,
                        db_default="",
                        help_text="The name of the alert's rule, if it has one.",
                    ),
                ),
                (
                    "state",
                    models.TextField(
                        choices=[
                            ("firing", "Firing"),
                            ("acknowledged", "Acknowledged"),
                            ("snoozed", "Snoozed"),
                            ("resolved", "Resolved"),
                        ],
                        db_default="firing",
                    ),
                ),
                (
                    "severity",
                    models.TextField(
                        choices=[("info", "Info"), ("warning", "Warning"), ("critical", "Critical")]
                    ),
                ),
                ("title", models.TextField()),
                ("summary", models.TextField(blank=True, db_default="")),
                ("value", models.FloatField(help_text="The value last measured.", null=True)),
                (
                    "threshold",
                    models.FloatField(help_text="The alert fires above this value.", null=True),
                ),
                (
                    "link",
                    models.TextField(
                        blank=True, db_default="", help_text="The path of the console page to look at."
                    ),
                ),
                (
                    "facts",
                    models.JSONField(blank=True, db_default=[], help_text="Pairs of a label and a text."),
                ),
                (
                    "links",
                    models.JSONField(blank=True, db_default=[], help_text="Pairs of a label and a URL."),
                ),
                ("since", models.DateTimeField(db_default=Now())),
                ("last_seen_at", models.DateTimeField(db_default=Now())),
                ("resolved_at", models.DateTimeField(null=True)),
                ("told_at", models.DateTimeField(null=True)),
                ("told_value", models.FloatField(null=True)),
                (
                    "unknown_since",
                    models.DateTimeField(
                        help_text="The time since which the value can't be read.", null=True
                    ),
                ),
                ("unknown_why", models.TextField(blank=True, db_default="")),
                ("snoozed_until", models.DateTimeField(null=True)),
                ("handled_at", models.DateTimeField(null=True)),
                (
                    "handled_by",
                    models.TextField(
                        blank=True,
                        db_default="",
                        help_text="The user who made the last decision about the alert.",
                    ),
                ),
                ("handled_reason", models.TextField(blank=True, db_default="")),
            ],
            options={
                "db_table": "alerts",
                "ordering": ["-since", "-id"],
                "permissions": [
                    ("acknowledge_alert", "Can acknowledge an alert"),
                    ("snooze_alert", "Can snooze an alert"),
                    ("resolve_alert", "Can resolve an alert manually"),
                ],
                "default_permissions": ("view",),
                "indexes": [models.Index(fields=["-since", "-id"], name="alerts_newest_idx")],
                "constraints": [
                    models.UniqueConstraint(
                        condition=Q(resolved_at=None),
                        fields=("fingerprint",),
                        name="alerts_one_open_a_fingerprint",
                    ),
                    models.CheckConstraint(
                        condition=Q(resolved_at__isnull=False, state="resolved")
                        | Q(resolved_at=None, state__in=["firing", "acknowledged", "snoozed"]),
                        name="alerts_resolved_has_a_time",
                    ),
                    models.CheckConstraint(
                        condition=~Q(state="snoozed") | Q(snoozed_until__isnull=False),
                        name="alerts_snoozed_has_an_end",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Notification",
            fields=[
                ID,
                (
                    "kind",
                    models.TextField(
                        choices=[
                            ("firing", "Firing"),
                            ("news", "update"),
                            ("reminder", "Reminder"),
                            ("resolved", "Resolved"),
                            ("test", "Test"),
                        ]
                    ),
                ),
                ("created_at", models.DateTimeField(db_default=Now())),
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
                        blank=True, db_default="", help_text="What is new since the last notification."
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
                        help_text="When the sender created the deliveries, one per channel.", null=True
                    ),
                ),
                (
                    "alert",
                    models.ForeignKey(
                        null=True, on_delete=models.CASCADE, related_name="notifications", to="alerts.alert"
                    ),
                ),
            ],
            options={
                "db_table": "alert_notifications",
                "ordering": ["id"],
                "default_permissions": (),
                "indexes": [
                    models.Index(
                        condition=Q(addressed_at=None), fields=["id"], name="alert_notifications_new_idx"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Delivery",
            fields=[
                ID,
                ("channel", models.TextField()),
                (
                    "state",
                    models.TextField(
                        choices=[
                            ("waiting", "Waiting"),
                            ("sent", "Sent"),
                            ("handed_over", "handed over to the fallback channel"),
                        ],
                        db_default="waiting",
                    ),
                ),
                ("created_at", models.DateTimeField(db_default=Now())),
                (
                    "in_doubt",
                    models.BooleanField(
                        db_default=False, help_text="The message was posted, but the outcome is unknown."
                    ),
                ),
                ("may_be_repeat", models.BooleanField(db_default=False)),
                (
                    "instead_of",
                    models.TextField(
                        blank=True,
                        db_default="",
                        help_text="The channel that does not accept messages, which this delivery replaces.",
                    ),
                ),
                ("settled_at", models.DateTimeField(null=True)),
                (
                    "notification",
                    models.ForeignKey(
                        on_delete=models.CASCADE, related_name="deliveries", to="alerts.notification"
                    ),
                ),
            ],
            options={
                "db_table": "alert_deliveries",
                "ordering": ["id"],
                "default_permissions": (),
                "indexes": [
                    models.Index(
                        condition=Q(state="waiting"),
                        fields=["channel", "id"],
                        name="alert_deliveries_waiting_idx",
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("notification", "channel"), name="alert_deliveries_one_a_channel"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Attempt",
            fields=[
                ID,
                ("at", models.DateTimeField(db_default=Now())),
                (
                    "outcome",
                    models.TextField(
                        choices=[
                            ("delivered", "Delivered"),
                            ("again", "to be retried"),
                            ("unknown", "outcome unknown"),
                            ("malformed", "message rejected"),
                            ("broken", "rejected permanently"),
                        ]
                    ),
                ),
                ("answer", models.TextField(blank=True, db_default="")),
                (
                    "delivery",
                    models.ForeignKey(
                        on_delete=models.CASCADE, related_name="attempts", to="alerts.delivery"
                    ),
                ),
            ],
            options={"db_table": "alert_attempts", "ordering": ["id"], "default_permissions": ()},
        ),
        migrations.CreateModel(
            name="Channel",
            fields=[
                ("name", models.TextField(primary_key=True, serialize=False)),
                (
                    "failures",
                    models.IntegerField(db_default=0, help_text="The number of consecutive failed attempts."),
                ),
                ("failing_since", models.DateTimeField(null=True)),
                (
                    "broken_since",
                    models.DateTimeField(
                        help_text="When the channel rejected a message permanently. It gets no more messages.",
                        null=True,
                    ),
                ),
                ("broken_why", models.TextField(blank=True, db_default="")),
                ("last_ok_at", models.DateTimeField(null=True)),
                ("last_attempt_at", models.DateTimeField(null=True)),
                ("last_answer", models.TextField(blank=True, db_default="")),
                ("next_post_at", models.DateTimeField(db_default=Now())),
                ("leased_until", models.DateTimeField(null=True)),
                (
                    "lease",
                    models.UUIDField(help_text="Identifies the sender that holds the lease.", null=True),
                ),
            ],
            options={
                "db_table": "alert_channels",
                "ordering": ["name"],
                "permissions": [("test_channel", "Can send a test message to a channel")],
                "default_permissions": ("view",),
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
                        help_text="The alert fires above this value. Empty if the threshold is set elsewhere.",
                        null=True,
                    ),
                ),
                (
                    "hysteresis",
                    models.FloatField(
                        db_default=0,
                        help_text="How far below the threshold the value must fall for the alert to resolve.",
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
                    models.DurationField(help_text="The time between reminders while the alert fires."),
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
            options={"db_table": "alert_gauges", "ordering": ["fingerprint"], "default_permissions": ()},
        ),
        migrations.CreateModel(
            name="Monitor",
            fields=[
                ("name", models.TextField(primary_key=True, serialize=False)),
                ("interval", models.DurationField()),
                ("last_ok_at", models.DateTimeField(db_default=Now())),
            ],
            options={
                "db_table": "alert_monitors",
                "ordering": ["name"],
                "permissions": [("forget_monitor", "Can forget a monitor that no longer runs")],
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="DeadManPing",
            fields=[
                ("name", models.TextField(primary_key=True, serialize=False)),
                (
                    "reported",
                    models.DateTimeField(
                        help_text="The last success that was reported to the switch.", null=True
                    ),
                ),
                ("pinged_at", models.DateTimeField(null=True)),
                ("ok_at", models.DateTimeField(help_text="When a ping was last accepted.", null=True)),
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
                (
                    "about",
                    models.TextField(help_text="The fingerprint of the alert that the message is about."),
                ),
                (
                    "happened_at",
                    models.DateTimeField(
                        help_text="When the alarm changed, or else when the message was sent."
                    ),
                ),
                ("received_at", models.DateTimeField(db_default=Now())),
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
