"""The index by which messages that were never sent are found among all that were. What is sent never enters it."""

from django.db import migrations, models

from opsconsole.kit.ddl import AddIndexOnline


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("jobs", "0015_idempotency_keys")]

    operations = [
        AddIndexOnline(
            "outbox",
            models.Index(
                condition=models.Q(("state__in", ["refused", "dropped"])),
                fields=["state", "id"],
                name="outbox_unsent_idx",
            ),
        ),
    ]
