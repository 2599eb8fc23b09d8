"""What tells every process that a client was freed, and the scope of a key that may free one."""

from django.contrib.postgres.fields import ArrayField
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("ratelimits", "0010_check_quota")]

    operations = [
        migrations.AddField(
            model_name="limitercontrol",
            name="freed",
            field=models.BigIntegerField(
                db_default=0,
                help_text="Raised when a client is freed, so that no process remembers it as blocked.",
            ),
        ),
        migrations.AlterModelOptions(
            name="limitercontrol",
            options={
                "default_permissions": ("view",),
                "permissions": [
                    ("switch_limiter", "Can switch all rate limits to shadow or off"),
                    ("free_client", "Can free a client that used up its limit"),
                ],
                "verbose_name": "limiter control",
            },
        ),
        # Only the choices change, and the database knows nothing of them.
        migrations.AlterField(
            model_name="apikey",
            name="scopes",
            field=ArrayField(
                base_field=models.TextField(
                    choices=[
                        ("jobs:write", "jobs:write: submit jobs"),
                        ("worker", "worker: claim and run jobs"),
                        ("limits:check", "limits:check: check rate limits for other services"),
                        ("limits:free", "limits:free: free clients that used up their limit"),
                    ]
                ),
                size=None,
            ),
        ),
    ]
