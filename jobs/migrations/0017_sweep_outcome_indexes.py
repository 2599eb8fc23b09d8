"""Most sweeps find nothing: those that did, and those with errors, are found without reading the others."""

from django.db import migrations, models

from opsconsole.kit.ddl import AddIndexOnline


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("jobs", "0016_outbox_unsent_index")]

    operations = [
        AddIndexOnline(
            "sweep",
            models.Index(
                condition=models.Q(("found__gt", 0)),
                fields=["-started_at", "-id"],
                name="sweeps_found_idx",
            ),
        ),
        AddIndexOnline(
            "sweep",
            models.Index(
                condition=models.Q(("errors__gt", 0)),
                fields=["-started_at", "-id"],
                name="sweeps_errors_idx",
            ),
        ),
    ]
