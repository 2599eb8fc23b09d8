"""The words on screen for a bulk operation that a person ended; what is stored stays."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0035_members_by_subject")]

    operations = [
        migrations.AlterField(
            model_name="bulkevent",
            name="kind",
            field=models.TextField(
                choices=[
                    ("begun", "Begun"),
                    ("cancelled", "stopped"),
                    ("resumed", "Resumed"),
                    ("stopped", "stopped automatically"),
                    ("trial_passed", "trial passed"),
                    ("ended", "Ended"),
                ]
            ),
        ),
        migrations.AlterField(
            model_name="bulkoperation",
            name="ended_at",
            field=models.DateTimeField(help_text="When it ended or was stopped.", null=True),
        ),
        migrations.AlterField(
            model_name="bulkoperation",
            name="state",
            field=models.TextField(
                choices=[
                    ("freezing", "being prepared"),
                    ("preview", "waiting for confirmation"),
                    ("running", "Running"),
                    ("cancelled", "stopped"),
                    ("stopped", "stopped automatically"),
                    ("ended", "Ended"),
                ],
                db_default="preview",
            ),
        ),
    ]
