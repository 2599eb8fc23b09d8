"""Which runs count in ``queue_naming``, each once. Earlier figures counted sightings."""

from django.db import migrations, models

# Keep the share, with the weight of few runs: a run was counted once a minute before.
WEIGH_SIGHTINGS_AS_FEW_RUNS = "UPDATE queue_naming SET named = named * 20 / seen, seen = 20 WHERE seen > 20"


class Migration(migrations.Migration):
    dependencies = [("jobs", "0010_restores")]

    operations = [
        migrations.CreateModel(
            name="MeasuredRun",
            fields=[
                ("job_id", models.UUIDField(primary_key=True, serialize=False)),
                ("run_epoch", models.IntegerField()),
                ("named", models.BooleanField()),
            ],
            options={"db_table": "measured_runs", "default_permissions": ()},
        ),
        migrations.RunSQL(WEIGH_SIGHTINGS_AS_FEW_RUNS, migrations.RunSQL.noop),
    ]
