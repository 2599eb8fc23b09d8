"""An index of the members that are not settled by what they are about, so that the page of a job finds the operation that waits for it.

Built online. A stop in the middle leaves what is built: migrate goes on from there.
"""

from django.db import migrations, models

from opsconsole.kit.online_indexes import AddOwnIndexOnline


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("jobs", "0034_waiting_since")]

    operations = [
        AddOwnIndexOnline(
            "bulkmember",
            models.Index(
                fields=["subject"],
                name="bulk_members_subject_idx",
                condition=models.Q(settled_at__isnull=True),
            ),
        ),
    ]
