"""Only what goes to a dead letter queue needs a name of its own: making one takes as long as an index entry."""

from django.contrib.postgres.functions import RandomUUID
from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations, models
from django.db.models import Q

from opsconsole.kit.ddl import AlterPatiently


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("jobs", "0017_sweep_outcome_indexes")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                AlterPatiently(
                    "outbox",
                    forwards="ALTER dead_letter_id DROP NOT NULL, ADD CONSTRAINT outbox_dead_letters_have_a_name"
                    " CHECK (destination <> 'dlq' OR dead_letter_id IS NOT NULL) NOT VALID",
                    # What has no name by then gets one: the version before reads the column of every row.
                    backwards="ALTER dead_letter_id TYPE uuid USING coalesce(dead_letter_id, gen_random_uuid()),"
                    " ALTER dead_letter_id SET NOT NULL, DROP CONSTRAINT outbox_dead_letters_have_a_name",
                )
            ],
            state_operations=[
                migrations.AlterField(
                    "outbox",
                    "dead_letter_id",
                    models.UUIDField(default=None, db_default=RandomUUID(), null=True),
                ),
                migrations.AddConstraint(
                    "outbox",
                    models.CheckConstraint(
                        condition=~Q(destination="dlq") | Q(dead_letter_id__isnull=False),
                        name="outbox_dead_letters_have_a_name",
                    ),
                ),
            ],
        ),
        ValidateConstraint("outbox", "outbox_dead_letters_have_a_name"),
    ]
