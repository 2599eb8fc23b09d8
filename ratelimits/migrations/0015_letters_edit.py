"""The scope of a key that edits dead letters. Only the choices change, and the database knows nothing of them."""

import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("ratelimits", "0014_jobs_edit"),
    ]

    operations = [
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
                            "jobs:edit",
                            "jobs:edit: with payloads:read, edit the payload of a job that does not run",
                        ),
                        (
                            "payloads:read",
                            "payloads:read: with jobs:read or letters:read, show payloads and bodies too",
                        ),
                        ("letters:read", "letters:read: list and show dead letters, without their bodies"),
                        ("letters:operate", "letters:operate: replay, discard and restore dead letters"),
                        (
                            "letters:edit",
                            "letters:edit: with payloads:read, send a dead letter again with another body",
                        ),
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
