"""A sent message is found by the id that SQS gave it."""

from django.db import migrations, models
from django.db.models import Q

from opsconsole.kit.ddl import AddIndexOnline


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("jobs", "0007_sweep_paused")]

    operations = [
        AddIndexOnline(
            "outbox",
            models.Index(condition=~Q(message_id=""), fields=["message_id"], name="outbox_message_idx"),
        ),
    ]
