"""The problem of a store that deletes counts when its memory is full."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("ratelimits", "0005_hidden_peer")]

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
                    ("store evicts keys", "Eviction"),
                ]
            ),
        ),
    ]
