"""The id below which events were dropped on purpose, so that the continuous check does not tell of them in each round."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("opsconsole", "0007_audit_refusals")]

    operations = [
        migrations.AddField(
            model_name="sealcheck",
            name="events_from",
            field=models.BigIntegerField(
                db_default=0, help_text="Events below this id were dropped on purpose, with their month."
            ),
        ),
    ]
