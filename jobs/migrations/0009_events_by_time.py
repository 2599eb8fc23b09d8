"""An hour or a week of the timeline is found without reading all of it."""

from django.contrib.postgres.indexes import BrinIndex
from django.db import migrations

from opsconsole.kit.ddl import AddIndexOnline


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("jobs", "0008_outbox_message_index")]

    operations = [
        AddIndexOnline(
            "jobevent",
            BrinIndex(fields=["at"], name="job_events_at_idx", pages_per_range=32, autosummarize=True),
        ),
    ]
