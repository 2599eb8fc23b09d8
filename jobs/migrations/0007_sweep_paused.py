"""A sweep may say that recovery was paused. Choices are Django's alone: the table is not touched."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0006_outbox_in_vain_index")]

    operations = [
        migrations.AlterField(
            model_name="sweep",
            name="mode",
            field=models.TextField(
                choices=[
                    ("armed", "recovered what it found"),
                    ("observe", "observed only"),
                    ("held", "held: mass staleness"),
                    ("paused", "paused: observed only"),
                ]
            ),
        ),
    ]
