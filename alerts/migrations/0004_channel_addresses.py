"""The addresses that a channel has had, by digest, and which of them is broken."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("alerts", "0003_incident_key")]

    operations = [
        migrations.AddField(
            model_name="channel",
            name="addresses",
            field=models.JSONField(
                blank=True,
                db_default={},
                help_text="Digests of the addresses that the channel has had, and whether each is broken.",
            ),
        ),
        migrations.AlterField(
            model_name="channel",
            name="broken_since",
            field=models.DateTimeField(
                help_text="When the channel rejected a message permanently. Its address gets no more messages.",
                null=True,
            ),
        ),
    ]
