"""What stands in the ledger can't be rewritten: a step that is filled in stays, and so does each row (I10)."""

from django.db import migrations

FILL_ONCE = """
CREATE FUNCTION dead_letter_ledger_fill_once() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF TG_OP = 'DELETE' OR OLD.ended_at IS NOT NULL
       OR (OLD.letter_id, OLD.action, OLD.actor, OLD.user_id, OLD.reason, OLD.from_copy, OLD.edited_body,
           OLD.job_epoch, OLD.wanted_at)
          IS DISTINCT FROM
          (NEW.letter_id, NEW.action, NEW.actor, NEW.user_id, NEW.reason, NEW.from_copy, NEW.edited_body,
           NEW.job_epoch, NEW.wanted_at)
       OR OLD.sent_at IS NOT NULL
          AND (OLD.sent_at, OLD.sending_at, OLD.new_message_id)
              IS DISTINCT FROM (NEW.sent_at, NEW.sending_at, NEW.new_message_id)
       OR OLD.deleted_at IS NOT NULL AND OLD.deleted_at IS DISTINCT FROM NEW.deleted_at
    THEN
        RAISE EXCEPTION 'dead_letter_ledger is append-only: this % is refused', TG_OP
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER dead_letter_ledger_fill_once BEFORE UPDATE OR DELETE ON dead_letter_ledger
    FOR EACH ROW EXECUTE FUNCTION dead_letter_ledger_fill_once();
"""


class Migration(migrations.Migration):
    dependencies = [("jobs", "0010_dead_letters")]

    operations = [
        migrations.RunSQL(
            FILL_ONCE,
            "DROP TRIGGER dead_letter_ledger_fill_once ON dead_letter_ledger;"
            "DROP FUNCTION dead_letter_ledger_fill_once()",
        ),
    ]
