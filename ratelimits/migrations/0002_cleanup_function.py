"""``cleanup_rate_limit_requests()``: what ``ratelimits.records.recording.cleanup`` does, for callers that speak SQL only."""

from django.db import migrations

from opsconsole.kit.ddl import ReplaceFunction

# The clock is Django's Now(), the statement's. Batches are walked in the order of created_at, so none looks again at what an earlier one deleted.
CREATE = """
CREATE FUNCTION {schema}.cleanup_rate_limit_requests() RETURNS bigint
LANGUAGE plpgsql SET search_path = {search_path} AS $body$
DECLARE
    batch constant integer := 5000;
    reached timestamptz := '-infinity';
    deleted bigint;
    total bigint := 0;
BEGIN
    LOOP
        WITH oldest AS MATERIALIZED (
            SELECT ctid FROM rate_limit_requests
             WHERE created_at >= reached AND created_at < statement_timestamp() - interval '1 hour'
             ORDER BY created_at LIMIT batch
             FOR UPDATE SKIP LOCKED
        ), gone AS (
            DELETE FROM rate_limit_requests WHERE ctid IN (SELECT ctid FROM oldest) RETURNING created_at
        )
        SELECT count(*), coalesce(max(created_at), reached) INTO deleted, reached FROM gone;
        total := total + deleted;
        EXIT WHEN deleted < batch;
    END LOOP;
    RETURN total;
END $body$
"""


class Migration(migrations.Migration):
    dependencies = [("ratelimits", "0001_contract_table")]

    operations = [
        ReplaceFunction(
            "cleanup_rate_limit_requests", arguments="", beside="rate_limit_requests", create=CREATE
        ),
    ]
