"""The problem of a web server that hides who connects."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("ratelimits", "0004_presets")]

    operations = [
        # Only the choices change, and the database knows nothing of them.
        migrations.AlterField(
            model_name="limitertrouble",
            name="kind",
            field=models.TextField(
                choices=[
                    ("store away", "Store Away"),
                    ("untrusted proxy", "Untrusted Proxy"),
                    ("hidden peer", "Hidden Peer"),
                    ("more processes than stated", "Processes"),
                ]
            ),
        ),
    ]
