"""How many stale runs a sweep passed over because others had locked them."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0008_undelivered_letters")]

    operations = [
        migrations.AddField(
            model_name="sweep",
            name="locked",
            field=models.IntegerField("locked by others", db_default=0),
        ),
        migrations.AlterField(
            model_name="sweep",
            name="errors",
            field=models.IntegerField("failed", db_default=0),
        ),
        migrations.AddIndex(
            model_name="sweep",
            index=models.Index(
                fields=["-started_at", "-id"], name="sweeps_locked_idx", condition=models.Q(locked__gt=0)
            ),
        ),
        migrations.AlterField(
            model_name="sweep",
            name="details",
            field=models.JSONField(
                db_default={}, help_text="The first skips, locks and errors, one sentence each."
            ),
        ),
    ]
