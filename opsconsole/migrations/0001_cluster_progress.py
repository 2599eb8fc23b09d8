"""The row by which a cluster's supervisor sees that tasks come through it."""

from django.db import migrations, models
from django.db.models.functions import Now


class Migration(migrations.Migration):
    initial = True

    operations = [
        migrations.CreateModel(
            name="ClusterProgress",
            fields=[
                ("cluster_id", models.TextField(primary_key=True, serialize=False)),
                ("hostname", models.TextField()),
                (
                    "started_at",
                    models.DateTimeField(db_default=Now(), help_text="When its supervisor started."),
                ),
                (
                    "probe",
                    models.IntegerField(
                        db_default=0, help_text="The last probe that was run by the cluster."
                    ),
                ),
                ("progressed_at", models.DateTimeField(db_default=Now(), help_text="When it was run.")),
                (
                    "restarts",
                    models.IntegerField(
                        db_default=0, help_text="How often the supervisor had to restart it."
                    ),
                ),
                (
                    "restart_reason",
                    models.TextField(blank=True, db_default="", help_text="Why it was restarted last."),
                ),
            ],
            options={
                "verbose_name": "cluster",
                "db_table": "cluster_progress",
                "default_permissions": ("view",),
            },
        ),
    ]
