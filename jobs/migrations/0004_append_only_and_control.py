"""The timeline can't be rewritten, and recovery starts by looking only where jobs were there before us (I6)."""

from django.db import migrations

APPEND_ONLY = """
CREATE FUNCTION job_events_append_only() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    RAISE EXCEPTION 'job_events is append-only: % is refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER job_events_append_only BEFORE UPDATE OR DELETE ON job_events
    FOR EACH ROW EXECUTE FUNCTION job_events_append_only();
"""

INITIAL_MODE = """
INSERT INTO recovery_control (id, mode, changed_at, changed_by, reason)
SELECT 1,
       CASE WHEN EXISTS (SELECT 1 FROM jobs) THEN 'observe' ELSE 'armed' END,
       now(), 'console',
       CASE WHEN EXISTS (SELECT 1 FROM jobs)
            THEN 'Attached to a database that already had jobs.'
            ELSE 'Started on a database without jobs.' END
"""


class Migration(migrations.Migration):
    dependencies = [("jobs", "0003_contract_indexes")]

    operations = [
        migrations.RunSQL(
            APPEND_ONLY,
            "DROP TRIGGER job_events_append_only ON job_events; DROP FUNCTION job_events_append_only()",
        ),
        migrations.RunSQL(INITIAL_MODE, "DELETE FROM recovery_control"),
    ]
