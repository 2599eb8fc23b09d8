"""The event of a claim that a rule of the database refuses."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0016_claimed_by_key")]

    operations = [
        migrations.AlterField(
            model_name="jobevent",
            name="kind",
            field=models.TextField(
                choices=[
                    ("enqueued", "Enqueued"),
                    ("claimed", "Claimed"),
                    ("progress", "Progress"),
                    ("completed", "Completed"),
                    ("retry_scheduled", "Retry Scheduled"),
                    ("failed", "Failed"),
                    ("recovered", "Recovered"),
                    ("quarantined", "Quarantined"),
                    ("requeued", "Requeued"),
                    ("released", "Released"),
                    ("cancelled", "Cancelled"),
                    ("resent", "Resent"),
                    ("fenced", "fenced after a restore"),
                    ("late_result_rejected", "Late Result Rejected"),
                    ("claim_refused", "claim refused by the database"),
                ]
            ),
        ),
    ]
