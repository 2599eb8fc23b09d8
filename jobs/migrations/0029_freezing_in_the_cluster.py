"""Previews that the cluster freezes: what was chosen, and how far it is."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0028_rare_events")]

    operations = [
        migrations.AddField(
            model_name="bulkoperation",
            name="choice",
            field=models.TextField(
                blank=True, db_default="", help_text="The signed SELECT of what was chosen."
            ),
        ),
        migrations.AddField(
            model_name="bulkoperation",
            name="frozen_to",
            field=models.JSONField(
                help_text="The key and the time of the last row that is frozen.", null=True
            ),
        ),
        migrations.AlterField(
            model_name="bulkoperation",
            name="state",
            field=models.TextField(
                choices=[
                    ("freezing", "being prepared"),
                    ("preview", "waiting for confirmation"),
                    ("running", "Running"),
                    ("cancelled", "Cancelled"),
                    ("stopped", "stopped automatically"),
                    ("ended", "Ended"),
                ],
                db_default="preview",
            ),
        ),
    ]
