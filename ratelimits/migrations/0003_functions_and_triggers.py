"""The cleanup function for SQL clients, and the triggers that raise the version with each edit of a policy."""

from django.db import migrations

from opsconsole.kit.ddl import ReplaceFunction

# The SQL form of ratelimits.records.recording.cleanup. The clock is statement_timestamp(), as for Django's Now().
# Batches go in the order of created_at, so that no batch scans rows that an earlier one deleted.
# Only one cleanup runs at a time: two of them, each adding to the same hours in one long transaction, could deadlock.
CLEANUP = """
CREATE FUNCTION {schema}.cleanup_rate_limit_requests() RETURNS bigint
LANGUAGE plpgsql SET search_path = {search_path} AS $body$
DECLARE
    batch constant integer := 5000;
    reached timestamptz := '-infinity';
    deleted bigint;
    total bigint := 0;
BEGIN
    IF NOT pg_try_advisory_xact_lock(7340114) THEN
        RETURN 0;
    END IF;
    LOOP
        WITH oldest AS MATERIALIZED (
            SELECT ctid FROM rate_limit_requests
             WHERE created_at >= reached AND created_at < statement_timestamp() - interval '1 hour'
             ORDER BY created_at LIMIT batch
             FOR UPDATE SKIP LOCKED
        ), gone AS (
            DELETE FROM rate_limit_requests WHERE ctid IN (SELECT ctid FROM oldest) RETURNING *
        ), rolled_up AS (
            INSERT INTO rate_limit_hours (hour, policy, key_hash, endpoint, method, outcome, hits)
            SELECT date_trunc('hour', created_at, 'UTC'), left(policy, 50),
                   encode(sha256(convert_to(coalesce((SELECT salt FROM rate_limit_control), '') || key, 'UTF8')), 'hex'),
                   left(endpoint, 200), left(method, 20), left(outcome, 20), sum(hits)
              FROM gone GROUP BY 1, 2, 3, 4, 5, 6
                ON CONFLICT (hour, policy, key_hash, endpoint, method, outcome)
                DO UPDATE SET hits = rate_limit_hours.hits + EXCLUDED.hits
        )
        SELECT count(*), coalesce(max(created_at), reached) INTO deleted, reached FROM gone;
        total := total + deleted;
        EXIT WHEN deleted < batch;
    END LOOP;
    DELETE FROM rate_limit_hours WHERE hour < statement_timestamp() - interval '90 days';
    RETURN total;
END $body$
"""


VERSION = """
CREATE FUNCTION rate_limit_policies_changed() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE rate_limit_control SET version = version + 1;
    RETURN NULL;
END $$;
CREATE TRIGGER rate_limit_policies_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON rate_limit_policies
    FOR EACH STATEMENT EXECUTE FUNCTION rate_limit_policies_changed();

CREATE FUNCTION rate_limit_switched() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    NEW.version := OLD.version + 1;
    RETURN NEW;
END $$;
CREATE TRIGGER rate_limit_switched BEFORE UPDATE OF mode ON rate_limit_control
    FOR EACH ROW EXECUTE FUNCTION rate_limit_switched();
"""
UNDO_VERSION = """
DROP TRIGGER rate_limit_switched ON rate_limit_control;
DROP FUNCTION rate_limit_switched();
DROP TRIGGER rate_limit_policies_changed ON rate_limit_policies;
DROP FUNCTION rate_limit_policies_changed();
"""


class Migration(migrations.Migration):
    dependencies = [("ratelimits", "0002_console_tables")]

    operations = [
        ReplaceFunction(
            "cleanup_rate_limit_requests", arguments="", beside="rate_limit_requests", create=CLEANUP
        ),
        migrations.RunSQL(VERSION, UNDO_VERSION),
    ]
