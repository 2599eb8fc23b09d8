"""What keys of the operator's API are made of: the account for which they act, and what it was allowed. Existing keys gain nothing."""

import django.contrib.postgres.fields
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("ratelimits", "0012_mapped_names"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="apikey",
            name="maker",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                editable=False,
                help_text="The account for which a key of the operator's API acts.",
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="apikey",
            name="permissions",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.TextField(),
                db_default=[],
                default=list,
                editable=False,
                help_text="What the account was allowed, of what the scopes stand for, when the key was made.",
                size=None,
            ),
        ),
        migrations.AlterField(
            model_name="apikey",
            name="scopes",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.TextField(
                    choices=[
                        ("jobs:write", "jobs:write: submit jobs"),
                        ("worker", "worker: claim and run jobs"),
                        ("limits:check", "limits:check: check rate limits for other services"),
                        ("limits:free", "limits:free: free clients that used up their limit"),
                        ("jobs:read", "jobs:read: list and show jobs, without their payloads"),
                        ("jobs:operate", "jobs:operate: requeue, cancel and release jobs"),
                        (
                            "payloads:read",
                            "payloads:read: with jobs:read or letters:read, show payloads and bodies too",
                        ),
                        ("letters:read", "letters:read: list and show dead letters, without their bodies"),
                        ("letters:operate", "letters:operate: replay, discard and restore dead letters"),
                        ("alerts:read", "alerts:read: list and show alerts"),
                        ("alerts:operate", "alerts:operate: acknowledge, snooze and resolve alerts"),
                        ("pauses:read", "pauses:read: see what is paused"),
                        ("pauses:operate", "pauses:operate: pause and resume recovery, checks and queues"),
                        ("limits:read", "limits:read: see the policies"),
                        ("limits:operate", "limits:operate: change policies and the mode of the limiter"),
                    ]
                ),
                size=None,
            ),
        ),
    ]
