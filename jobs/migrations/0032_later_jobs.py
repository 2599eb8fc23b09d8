"""An index of the waiting jobs that have a time before which they may not start: built online, empty where no job has one.

A stop in the middle leaves what is built: migrate goes on from there.
"""

from django.db import migrations, models

from opsconsole.kit.online_indexes import AddIndexOnline


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("jobs", "0031_counted_previews")]

    operations = [
        AddIndexOnline(
            "job",
            models.Index(
                condition=models.Q(("not_before__isnull", False), ("status", "pending")),
                fields=["queue", "not_before", "id"],
                name="opsconsole_jobs_later_idx",
            ),
        ),
    ]
