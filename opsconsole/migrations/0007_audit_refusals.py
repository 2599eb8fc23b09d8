"""Counts of refused log-ins and changes, until they are written to the audit as sums."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("opsconsole", "0006_inherited_grants")]

    operations = [
        migrations.CreateModel(
            name="Refusal",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("minute", models.DateTimeField()),
                (
                    "kind",
                    models.TextField(choices=[("log-in", "Log In"), ("permission", "Permission")]),
                ),
                (
                    "who",
                    models.TextField(blank=True, help_text="The name of an account; empty for all others."),
                ),
                ("address", models.TextField(blank=True)),
                (
                    "subject",
                    models.TextField(
                        blank=True,
                        help_text="What was asked for, such as 'POST /admin/auth/user/1/change/'.",
                    ),
                ),
                ("times", models.IntegerField(db_default=1)),
            ],
            options={"db_table": "audit_refusals", "default_permissions": ()},
        ),
        migrations.AddConstraint(
            model_name="refusal",
            constraint=models.UniqueConstraint(
                fields=("minute", "kind", "who", "address", "subject"), name="audit_refusals_once_a_minute"
            ),
        ),
    ]
