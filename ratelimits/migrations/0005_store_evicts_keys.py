"""Add a kind of trouble of the limiter. The database does not change."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("ratelimits", "0004_presets"),
    ]

    operations = [
        migrations.AlterField(
            model_name="limitertrouble",
            name="kind",
            field=models.TextField(
                choices=[
                    ("store away", "Store Away"),
                    ("untrusted proxy", "Untrusted Proxy"),
                    ("more processes than stated", "Processes"),
                    ("store evicts keys", "Eviction"),
                ]
            ),
        ),
    ]
