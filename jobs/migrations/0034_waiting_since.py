"""An index of since when the jobs of a queue wait, in place of that of their last change: built online, then the other is dropped.

A stop in the middle leaves what is built: migrate goes on from there. Code from before finds the same jobs without either.
"""

from django.db import migrations, models
from django.db.models.functions import Greatest

from opsconsole.kit.online_indexes import AddIndexOnline, RemoveIndexOnline


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("jobs", "0033_letters_seen_again")]

    operations = [
        AddIndexOnline(
            "job",
            models.Index(
                "queue",
                Greatest("updated_at", "not_before"),
                "id",
                condition=models.Q(("status", "pending")),
                name="opsconsole_jobs_since_idx",
            ),
        ),
        RemoveIndexOnline("job", "opsconsole_jobs_line_idx"),
    ]
