"""An index of the rare kinds of events by time, built online on each month of the timeline.

A stop in the middle leaves what is built: migrate goes on from there.
"""

from django.db import migrations, models

from opsconsole.kit.online_indexes import AddOwnIndexOnline

KINDS = ("cancelled", "claim_refused", "quarantined", "recovered", "released", "requeued")


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("jobs", "0025_run_rollups")]

    operations = [
        AddOwnIndexOnline(
            "jobevent",
            models.Index(fields=["at"], name="job_events_rare_idx", condition=models.Q(kind__in=KINDS)),
        ),
    ]
