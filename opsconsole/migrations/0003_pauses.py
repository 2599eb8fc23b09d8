"""What is held still, by whom, why and until when."""

from django.db import migrations, models
from django.db.models import Q
from django.db.models.functions import Now


class Migration(migrations.Migration):
    dependencies = [("opsconsole", "0002_audit_append_only")]

    operations = [
        migrations.CreateModel(
            name="Pause",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "name",
                    models.TextField(help_text="What is held still, such as 'recovery' or 'queue:default'."),
                ),
                ("began_at", models.DateTimeField(db_default=Now())),
                ("began_by", models.TextField()),
                ("reason", models.TextField()),
                (
                    "until",
                    models.DateTimeField(
                        help_text="It ends by itself then; empty: when somebody ends it.", null=True
                    ),
                ),
                ("ended_at", models.DateTimeField(null=True)),
                ("ended_by", models.TextField(blank=True, db_default="")),
                ("end_reason", models.TextField(blank=True, db_default="")),
            ],
            options={
                "db_table": "pauses",
                "ordering": ["-id"],
                "default_permissions": ("view",),
                "permissions": [("switch", "Can pause and resume recovery, checks and queues")],
                "constraints": [
                    models.UniqueConstraint(
                        condition=Q(ended_at=None), fields=["name"], name="pauses_one_open_a_name"
                    )
                ],
            },
        ),
    ]
