"""``cleanup_rate_limit_requests()`` as ``ratelimits.records.recording.cleanup``: what is deleted is counted by hour."""

from django.db import migrations

from opsconsole.kit.ddl import ReplaceFunction

# One cleaner at a time: two that add to the same hours in one long transaction each could wait for each other.
CREATE = """
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


class Migration(migrations.Migration):
    dependencies = [("ratelimits", "0005_hours_and_troubles")]

    operations = [
        ReplaceFunction(
            "cleanup_rate_limit_requests", arguments="", beside="rate_limit_requests", create=CREATE
        ),
    ]
