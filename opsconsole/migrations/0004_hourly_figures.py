"""What the charts show, by the hour."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("opsconsole", "0003_pauses")]

    operations = [
        migrations.CreateModel(
            name="HourlyFigure",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.TextField(help_text="Such as 'jobs completed' or 'dead letters'.")),
                ("hour", models.DateTimeField(help_text="The hour's beginning.")),
                ("value", models.FloatField()),
            ],
            options={
                "db_table": "hourly_figures",
                "default_permissions": (),
                "constraints": [
                    models.UniqueConstraint(fields=["name", "hour"], name="hourly_figures_once_an_hour")
                ],
            },
        ),
    ]
