"""Finds the few messages that were sent again as often as is allowed, and in vain."""

from django.db import migrations, models

from opsconsole.kit.ddl import AddIndexOnline


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("jobs", "0005_find_stale_jobs")]

    operations = [
        AddIndexOnline(
            "outbox",
            models.Index(condition=models.Q(("resends__gte", 3)), fields=["job"], name="outbox_in_vain_idx"),
        ),
    ]
