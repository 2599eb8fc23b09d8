"""The index by which a waiting job's place in the line of its queue is counted."""

from django.db import migrations, models

from opsconsole.kit.ddl import AddIndexOnline


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("jobs", "0013_bulk_operations")]

    operations = [
        AddIndexOnline(
            "job",
            models.Index(
                condition=models.Q(("status", "pending")),
                fields=["queue", "updated_at", "id"],
                name="opsconsole_jobs_line_idx",
            ),
        ),
    ]
