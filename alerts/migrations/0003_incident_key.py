"""The key of each alert's incident at services such as PagerDuty."""

from django.contrib.postgres.functions import RandomUUID
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("alerts", "0002_rules")]

    operations = [
        # The default differs per row, so PostgreSQL rewrites the table. It is small: old alerts are deleted.
        migrations.AddField(
            model_name="alert",
            name="incident_key",
            field=models.UUIDField(
                db_default=RandomUUID(), help_text="Identifies the alert to services that open incidents."
            ),
        ),
    ]
