"""The groups of previews that the cluster freezes, counted while they are frozen."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0030_run_progress")]

    operations = [
        migrations.AddField(
            model_name="bulkoperation",
            name="counted",
            field=models.JSONField(
                help_text="The groups of a preview that the cluster froze: will, status, reason, count, example.",
                null=True,
            ),
        ),
    ]
