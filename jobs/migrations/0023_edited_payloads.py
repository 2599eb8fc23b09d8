"""The permissions to edit payloads and to enqueue jobs, and the kind of event that keeps an original. No statement is run."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0022_attach_page")]

    operations = [
        migrations.AlterModelOptions(
            name="job",
            options={
                "ordering": ["-created_at", "-id"],
                "permissions": [
                    ("requeue_job", "Can requeue a job"),
                    ("cancel_job", "Can cancel a job"),
                    ("release_job", "Can release a job from quarantine"),
                    ("edit_job", "Can edit the payload of a job"),
                    ("enqueue_job", "Can enqueue a job"),
                ],
            },
        ),
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
                    ("edited", "payload edited"),
                ]
            ),
        ),
    ]
