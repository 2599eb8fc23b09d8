"""A settled dead letter may be deleted, while its sealed entries of the ledger stay: no foreign key between them any more."""

import django.db.models.deletion
from django.db import migrations, models

DROP = """
DO $body$
DECLARE
    name text;
BEGIN
    FOR name IN SELECT quote_ident(conname) FROM pg_constraint
                 WHERE contype = 'f' AND conrelid = 'dead_letter_ledger'::regclass AND confrelid = 'dead_letters'::regclass
    LOOP
        EXECUTE 'ALTER TABLE dead_letter_ledger DROP CONSTRAINT ' || name;
    END LOOP;
END $body$;
"""
# Not validated: entries may name letters that are gone.
RESTORE = """
ALTER TABLE dead_letter_ledger ADD CONSTRAINT dead_letter_ledger_letter_id_fk
    FOREIGN KEY (letter_id) REFERENCES dead_letters (id) DEFERRABLE INITIALLY DEFERRED NOT VALID
"""


class Migration(migrations.Migration):
    dependencies = [("jobs", "0023_edited_payloads")]

    operations = [
        migrations.RunSQL(
            DROP,
            RESTORE,
            state_operations=[
                migrations.AlterField(
                    model_name="replayattempt",
                    name="letter",
                    field=models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="attempts",
                        to="jobs.deadletter",
                    ),
                )
            ],
        )
    ]
