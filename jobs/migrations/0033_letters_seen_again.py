"""Letters that are seen again change no index: that of the time when they were seen goes, and their pages keep room for a new version.

The room is only in pages that are written from now on. Code from before needs neither.
"""

from django.contrib.postgres.operations import RemoveIndexConcurrently
from django.db import migrations


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("jobs", "0032_later_jobs")]

    operations = [
        RemoveIndexConcurrently("deadletter", "dead_letters_present_idx"),
        migrations.RunSQL(
            "ALTER TABLE dead_letters SET (fillfactor = 50)", "ALTER TABLE dead_letters RESET (fillfactor)"
        ),
    ]
