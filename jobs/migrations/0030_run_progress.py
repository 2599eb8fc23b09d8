"""The table of how far each run is."""

from django.db import migrations, models
from django.db.models.functions import Now

from opsconsole.kit import job_ids


class Migration(migrations.Migration):
    dependencies = [("jobs", "0029_freezing_in_the_cluster")]

    operations = [
        migrations.CreateModel(
            name="RunProgress",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("job_id", job_ids.reference()),
                ("run_epoch", models.IntegerField()),
                ("percent", models.DecimalField(decimal_places=1, max_digits=4, null=True)),
                ("text", models.TextField(db_default="")),
                ("began_at", models.DateTimeField(db_default=Now())),
                ("at", models.DateTimeField(db_default=Now())),
            ],
            options={
                "db_table": "run_progress",
                "default_permissions": (),
                "indexes": [models.Index(fields=["began_at"], name="run_progress_began_idx")],
                "constraints": [
                    models.UniqueConstraint(fields=("job_id", "run_epoch"), name="run_progress_once"),
                    models.CheckConstraint(
                        condition=models.Q(("percent__range", (0, 100))), name="run_progress_percent"
                    ),
                ],
            },
        ),
    ]
