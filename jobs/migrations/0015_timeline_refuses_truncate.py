"""The timeline and its kin refuse TRUNCATE, also each partition of its own: PostgreSQL passes on only row triggers."""

from importlib import import_module

from django.db import migrations

from opsconsole.kit.ddl import ReplaceFunction

BEFORE = import_module("jobs.migrations.0006_functions_and_triggers").CREATE_PARTITIONS
# A partition gets the trigger before it is attached and visible as one.
CREATE_PARTITIONS = BEFORE.replace(
    "            EXECUTE format('ALTER TABLE %s ATTACH PARTITION",
    "            EXECUTE format('CREATE TRIGGER job_events_no_truncate BEFORE TRUNCATE ON %s"
    " FOR EACH STATEMENT EXECUTE FUNCTION {schema}.job_events_append_only()', made);\n"
    "            EXECUTE format('ALTER TABLE %s ATTACH PARTITION",
)

REFUSE = """
DO $body$
DECLARE
    part regclass;
BEGIN
    FOR part IN SELECT 'job_events'::regclass UNION ALL SELECT inhrelid::regclass FROM pg_inherits
                 WHERE inhparent = 'job_events'::regclass
    LOOP
        EXECUTE format('CREATE TRIGGER job_events_no_truncate BEFORE TRUNCATE ON %s'
                       ' FOR EACH STATEMENT EXECUTE FUNCTION job_events_append_only()', part);
    END LOOP;
END $body$;
CREATE TRIGGER bulk_events_no_truncate BEFORE TRUNCATE ON bulk_events
    FOR EACH STATEMENT EXECUTE FUNCTION bulk_events_append_only();
CREATE TRIGGER dead_letter_ledger_no_truncate BEFORE TRUNCATE ON dead_letter_ledger
    FOR EACH STATEMENT EXECUTE FUNCTION dead_letter_ledger_no_truncate();
"""
LEDGER = """
CREATE FUNCTION dead_letter_ledger_no_truncate() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    RAISE EXCEPTION 'dead_letter_ledger is append-only: this % is refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END $$;
"""
ALLOW = """
DROP TRIGGER dead_letter_ledger_no_truncate ON dead_letter_ledger;
DROP FUNCTION dead_letter_ledger_no_truncate();
DROP TRIGGER bulk_events_no_truncate ON bulk_events;
DO $body$
DECLARE
    part regclass;
BEGIN
    FOR part IN SELECT 'job_events'::regclass UNION ALL SELECT inhrelid::regclass FROM pg_inherits
                 WHERE inhparent = 'job_events'::regclass
    LOOP
        EXECUTE format('DROP TRIGGER IF EXISTS job_events_no_truncate ON %s', part);
    END LOOP;
END $body$;
"""


class Migration(migrations.Migration):
    dependencies = [("jobs", "0014_restarted_workers")]

    operations = [
        migrations.RunSQL(LEDGER + REFUSE, ALLOW),
        ReplaceFunction(
            "create_job_event_partitions",
            arguments="integer",
            beside="job_events",
            create=CREATE_PARTITIONS,
            before=BEFORE,
        ),
    ]
