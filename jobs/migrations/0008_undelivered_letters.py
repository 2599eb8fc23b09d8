"""To whom a service could not deliver a dead letter."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0007_evidence_of_life")]

    operations = [
        migrations.AddField(
            model_name="deadletter",
            name="addressee",
            field=models.TextField(
                blank=True,
                db_default="",
                help_text="To whom EventBridge, SNS or Lambda could not deliver it: an ARN, or 'Lambda'. Empty if it came from a queue.",
            ),
        ),
        migrations.AlterField(
            model_name="failuregroup",
            name="kind",
            field=models.TextField(
                choices=[
                    ("job_error", "error of its job"),
                    ("not_delivered", "reason of the service that could not deliver it"),
                    ("unreadable", "no worker could read it"),
                    ("given_reason", "reason given in its body"),
                    ("receives", "received too often"),
                    ("shape", "shape of its body"),
                ]
            ),
        ),
    ]
