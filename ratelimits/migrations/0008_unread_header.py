"""The problem of a proxy that sends another header than the one that is read."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("ratelimits", "0007_successors_of_keys")]

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
                    ("unread header", "Unread Header"),
                ]
            ),
        ),
    ]
