"""The key that another API key succeeds, whose runs it may end."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("ratelimits", "0006_store_evicts_keys")]

    operations = [
        migrations.AddField(
            model_name="apikey",
            name="succeeds",
            field=models.UUIDField(
                editable=False,
                help_text="The first of the keys that this one succeeds; runs that they claimed are its own.",
                null=True,
            ),
        ),
    ]
