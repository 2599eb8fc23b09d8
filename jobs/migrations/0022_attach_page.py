"""The permission of the page Attach."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("jobs", "0021_observe_beside_others")]

    operations = [
        migrations.CreateModel(
            name="Attachment",
            fields=[],
            options={
                "verbose_name": "attachment",
                "proxy": True,
                "default_permissions": ("view",),
                "indexes": [],
                "constraints": [],
            },
            bases=("jobs.recoverycontrol",),
        ),
    ]
