"""The progress of clusters, pauses, and the hourly figures of the charts."""

from django.db import migrations, models
from django.db.models import Q
from django.db.models.functions import Now

ID = ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"))


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
                    models.IntegerField(db_default=0, help_text="The last probe that the cluster ran."),
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
                    models.TextField(blank=True, db_default="", help_text="Why it was last restarted."),
                ),
            ],
            options={
                "verbose_name": "cluster",
                "db_table": "cluster_progress",
                "permissions": [
                    ("pause_schedule", "Can pause and resume a schedule"),
                    ("run_schedule", "Can run a schedule now"),
                ],
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="Pause",
            fields=[
                ID,
                (
                    "name",
                    models.TextField(help_text="What is paused, such as 'recovery' or 'queue:default'."),
                ),
                ("began_at", models.DateTimeField(db_default=Now())),
                ("began_by", models.TextField()),
                ("reason", models.TextField()),
                (
                    "until",
                    models.DateTimeField(
                        help_text="When it ends automatically; empty: when somebody ends it.", null=True
                    ),
                ),
                ("ended_at", models.DateTimeField(null=True)),
                ("ended_by", models.TextField(blank=True, db_default="")),
                ("end_reason", models.TextField(blank=True, db_default="")),
            ],
            options={
                "db_table": "pauses",
                "ordering": ["-id"],
                "permissions": [("switch", "Can pause and resume recovery, checks and queues")],
                "default_permissions": ("view",),
                "constraints": [
                    models.UniqueConstraint(
                        condition=Q(ended_at=None), fields=("name",), name="pauses_one_open_a_name"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="HourlyFigure",
            fields=[
                ID,
                ("name", models.TextField(help_text="Such as 'jobs completed' or 'dead letters'.")),
                ("hour", models.DateTimeField(help_text="The hour's beginning.")),
                ("value", models.FloatField()),
            ],
            options={
                "db_table": "hourly_figures",
                "default_permissions": (),
                "constraints": [
                    models.UniqueConstraint(fields=("name", "hour"), name="hourly_figures_once_an_hour")
                ],
            },
        ),
    ]
