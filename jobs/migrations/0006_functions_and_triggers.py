"""SQL functions for callers that speak SQL only, and triggers that keep what was written (I10)."""

from django.db import migrations

from jobs.models.columns import column
from jobs.models.queue import MAX_VISIBILITY_SECONDS
from opsconsole.kit.ddl import ReplaceFunction

CUSTOMER_ID = column("jobs.customer_id")
PACKAGE_SIZE = column("jobs.package_size")
PRIORITY_LEVEL = column("jobs.priority_level")
LAST_HEARTBEAT = column("worker_heartbeats.last_heartbeat")

APPEND_ONLY = """
CREATE FUNCTION job_events_append_only() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    RAISE EXCEPTION 'job_events is append-only: % is refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER job_events_append_only BEFORE UPDATE OR DELETE ON job_events
    FOR EACH ROW EXECUTE FUNCTION job_events_append_only();

CREATE FUNCTION bulk_events_append_only() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    RAISE EXCEPTION 'bulk_events is append-only: % is refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER bulk_events_append_only BEFORE UPDATE OR DELETE ON bulk_events
    FOR EACH ROW EXECUTE FUNCTION bulk_events_append_only();
"""

# A step that is filled in stays, and so does each row.
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

# The question of Job.objects.stale(). The types of what it returns are those of the table's columns. Its clock is
# Django's Now(): the statement's.
FIND_STALE_JOBS = f"""
CREATE FUNCTION {{schema}}.find_stale_jobs(threshold timestamptz)
RETURNS TABLE (
    id jobs.id%TYPE,
    customer_id jobs."{CUSTOMER_ID}"%TYPE,
    package_size jobs."{PACKAGE_SIZE}"%TYPE,
    priority_level jobs."{PRIORITY_LEVEL}"%TYPE
)
LANGUAGE sql STABLE SET search_path = {{search_path}} AS $body$
    SELECT job.id, job."{CUSTOMER_ID}", job."{PACKAGE_SIZE}", job."{PRIORITY_LEVEL}"
    FROM jobs AS job
    WHERE job.status = 'in_progress'
      AND job.updated_at < threshold
      AND greatest(
              job.started_at,
              job.updated_at,
              (SELECT outage_ended_at FROM recovery_control),
              (SELECT max(beat."{LAST_HEARTBEAT}")
                 FROM worker_heartbeats AS beat
                WHERE beat.current_job_id = job.id
                  AND (beat.current_run_epoch = job.run_epoch
                       OR beat.current_run_epoch IS NULL AND job.claimed_epoch IS NULL))
          ) < CASE WHEN job.claimed_epoch IS NULL
                   THEN least(threshold, statement_timestamp() - make_interval(secs => coalesce(
                            (SELECT visibility_timeout_seconds FROM queue_state
                              WHERE name = job.queue), {MAX_VISIBILITY_SECONDS})))
                   ELSE threshold END
$body$
"""

# It runs with the rights of its owner, who owns the table: the console's own role may only call it. A month whose events
# lie in the default partition already can't have a partition of its own: it is returned as not created, and the events stay.
# A new partition is open to the roles that the table is open to, and to no others, whatever default privileges say.
CREATE_PARTITIONS = """
CREATE FUNCTION {schema}.create_job_event_partitions(months_ahead integer)
RETURNS TABLE (partition_name text, created boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $body$
DECLARE
    events constant regclass := $name${schema}.job_events$name$;
    this_month constant timestamp := date_trunc('month', now() AT TIME ZONE 'UTC');
    month timestamp;
    next_month timestamp;
    made text;
    command text;
BEGIN
    IF NOT pg_try_advisory_xact_lock(7340115) THEN
        RETURN;
    END IF;
    FOR number IN 0 .. least(months_ahead, 24) LOOP
        month := this_month + make_interval(months => number);
        next_month := month + interval '1 month';
        partition_name := to_char(month, '"job_events_"YYYY_MM');
        CONTINUE WHEN EXISTS (
            SELECT FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
             WHERE inhparent = events AND relname = partition_name);
        created := NOT EXISTS (
            SELECT FROM {schema}.job_events_default
             WHERE at >= month AT TIME ZONE 'UTC' AND at < next_month AT TIME ZONE 'UTC');
        IF created THEN
            made := format('%s.%I', (SELECT relnamespace::regnamespace FROM pg_class WHERE oid = events), partition_name);
            EXECUTE format('CREATE TABLE %s (LIKE %s INCLUDING ALL EXCLUDING IDENTITY)', made, events);
            IF (SELECT relrowsecurity FROM pg_class WHERE oid = events) THEN
                EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', made);
            END IF;
            FOR command IN
                SELECT format(CASE WHEN oid = events THEN 'GRANT %1$s ON %2$s TO %3$s' ELSE 'REVOKE %1$s ON %2$s FROM %3$s' END,
                              privilege_type, made, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END)
                  FROM pg_class, aclexplode(relacl)
                 WHERE oid IN (events, made::regclass) AND grantee <> relowner
                 ORDER BY oid = events
            LOOP
                EXECUTE command;
            END LOOP;
            EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)', events, made,
                           to_char(month, 'YYYY-MM-DD 00:00+00'), to_char(next_month, 'YYYY-MM-DD 00:00+00'));
        END IF;
        RETURN NEXT;
    END LOOP;
END $body$
"""


class Migration(migrations.Migration):
    dependencies = [("jobs", "0005_bulk_operations")]

    operations = [
        migrations.RunSQL(
            APPEND_ONLY,
            "DROP TRIGGER job_events_append_only ON job_events; DROP FUNCTION job_events_append_only();"
            "DROP TRIGGER bulk_events_append_only ON bulk_events; DROP FUNCTION bulk_events_append_only()",
        ),
        migrations.RunSQL(
            FILL_ONCE,
            "DROP TRIGGER dead_letter_ledger_fill_once ON dead_letter_ledger;"
            "DROP FUNCTION dead_letter_ledger_fill_once()",
        ),
        ReplaceFunction("find_stale_jobs", arguments="timestamptz", beside="jobs", create=FIND_STALE_JOBS),
        ReplaceFunction(
            "create_job_event_partitions", arguments="integer", beside="job_events", create=CREATE_PARTITIONS
        ),
        migrations.RunSQL("SELECT create_job_event_partitions(3)", migrations.RunSQL.noop),
    ]
