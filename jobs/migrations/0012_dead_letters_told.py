"""Which letters people were told of, one by one: a watermark would miss what commits late."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0011_dead_letter_ledger"),
    ]

    operations = [
        migrations.RemoveField(
            model_name="deadletterqueue",
            name="told_until",
        ),
        migrations.AddField(
            model_name="deadletter",
            name="told_at",
            field=models.DateTimeField(help_text="When people were told of it.", null=True),
        ),
        migrations.AddIndex(
            model_name="deadletter",
            index=models.Index(
                condition=models.Q(("told_at", None)), fields=["dlq"], name="dead_letters_untold_idx"
            ),
        ),
        migrations.AddIndex(
            model_name="deadletter",
            index=models.Index(fields=["words_of"], name="dead_letters_words_of_idx"),
        ),
    ]
