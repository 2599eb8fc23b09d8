"""The ledgers of bulk operations and dead letters are sealed, too, and refused API keys are counted."""

from django.db import migrations, models

SOURCES = [
    ("audit", "Audit"),
    ("timeline", "Timeline"),
    ("bulk", "bulk operations"),
    ("letters", "dead letters"),
]
KINDS = [("log-in", "Log In"), ("permission", "Permission"), ("scope", "scope of an API key")]


class Migration(migrations.Migration):
    dependencies = [("opsconsole", "0008_dropped_events")]

    operations = [
        migrations.AlterField("auditseal", "source", models.TextField(choices=SOURCES)),
        migrations.AlterField("unsealedrange", "source", models.TextField(choices=SOURCES)),
        migrations.AlterField("refusal", "kind", models.TextField(choices=KINDS)),
    ]
