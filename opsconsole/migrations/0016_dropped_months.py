"""The record of dropped months of the timeline, and the owner's function that alone drops one and writes it."""

from django.db import migrations, models
from django.db.models.functions import Now

from opsconsole.kit.ddl import ReplaceFunction

APPEND_ONLY = """
CREATE TRIGGER retention_drops_insert_only BEFORE UPDATE OR DELETE ON retention_drops
    FOR EACH ROW EXECUTE FUNCTION opsconsole_insert_only();
CREATE TRIGGER retention_drops_no_truncate BEFORE TRUNCATE ON retention_drops
    FOR EACH STATEMENT EXECUTE FUNCTION opsconsole_insert_only();
"""
EDITABLE = """
DROP TRIGGER retention_drops_no_truncate ON retention_drops;
DROP TRIGGER retention_drops_insert_only ON retention_drops;
"""

# It runs with the rights of its owner: the console's own role may drop nothing, and so it judges by itself. How long events
# are kept stands in its own comment, which only its owner can write ('opsconsole keeps 396 days'; migrate does).
#
# While it looks, nobody can add an event to this month, and everybody reads; other months are not concerned. Only the last
# statement locks the whole timeline, for the time that the catalogue takes. No wait is longer than a second: less than after
# which PostgreSQL looks for deadlocks, so that a writer who waits for this function while it waits for them always wins.
#
# The rows are exactly those that the caller exported: none was added since, since none can be altered or deleted.
DROP_MONTH = """
CREATE FUNCTION {schema}.drop_job_event_month(
    month date, row_total bigint, ids text, content text, file text, left_over jsonb, dropped_by text)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {search_path} SET lock_timeout = '800ms' AS $body$
DECLARE
    next_month constant timestamp := month + interval '1 month';
    kept_days constant integer := greatest(32, coalesce(substring(
        obj_description(to_regprocedure('{schema}.drop_job_event_month(date,bigint,text,text,text,jsonb,text)'), 'pg_proc')
        FROM '^opsconsole keeps ([0-9]{{1,5}}) days$')::integer, 396));
    part regclass;
    present bigint;
    named bigint;
    listed bigint;
    sealed bigint;
BEGIN
    IF extract(day FROM month) <> 1 THEN
        RAISE EXCEPTION '% is not the first day of a month', month USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF (next_month + make_interval(days => kept_days)) AT TIME ZONE 'UTC' > now() THEN
        RAISE EXCEPTION 'events of % are kept until %', to_char(month, 'YYYY-MM'), next_month + make_interval(days => kept_days)
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    SELECT inhrelid INTO part FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
     WHERE inhparent = 'job_events'::regclass AND relname = to_char(month, '"job_events_"YYYY_MM');
    IF part IS NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('LOCK TABLE %s IN SHARE MODE', part);
    EXECUTE format('SELECT count(*) FROM %s', part) INTO present;
    EXECUTE format($counted$
        WITH range AS (SELECT bounds[1]::bigint AS low, coalesce(bounds[2], bounds[1])::bigint AS high
                         FROM regexp_split_to_table(nullif($1, ''), ',') AS piece,
                              regexp_match(piece, '^(-?[0-9]+)(?:-(-?[0-9]+))?$') AS bounds)
        SELECT coalesce(sum(high - low + 1), 0),
               coalesce(sum((SELECT count(*) FROM %s AS event WHERE event.id BETWEEN low AND high)), 0) FROM range
        $counted$, part) INTO listed, named USING ids;
    IF present <> row_total OR listed <> present OR named <> present THEN
        RAISE EXCEPTION 'the month has % events, and not exactly those % were exported', present, row_total
            USING ERRCODE = 'serialization_failure';
    END IF;
    EXECUTE format($counted$
        WITH span AS (SELECT min(id) AS low, max(id) AS high FROM %1$s),
             range AS (SELECT DISTINCT bounds[1]::bigint AS low, coalesce(bounds[2], bounds[1])::bigint AS high
                         FROM audit_seals, span, regexp_split_to_table(audit_seals.ids, ',') AS piece,
                              regexp_match(piece, '^(-?[0-9]+)(?:-(-?[0-9]+))?$') AS bounds
                        WHERE source = 'timeline' AND int8range(first_id, last_id, '[]') && int8range(span.low, span.high, '[]'))
        SELECT coalesce(sum((SELECT count(*) FROM %1$s AS event WHERE event.id BETWEEN low AND high)), 0) FROM range
        $counted$, part) INTO sealed;
    IF sealed < present THEN
        RAISE EXCEPTION '% of % events are not sealed', present - sealed, present USING ERRCODE = 'insufficient_privilege';
    END IF;
    INSERT INTO retention_drops (source, name, ids, row_count, content, file, left_over, by)
    VALUES ('timeline', to_char(month, '"job_events_"YYYY_MM'), ids, present, content, file, left_over, dropped_by);
    EXECUTE format('DROP TABLE %s', part);
    RETURN true;
END $body$
"""


class Migration(migrations.Migration):
    dependencies = [("opsconsole", "0015_sign_in_identities"), ("jobs", "0024_letters_may_go")]

    operations = [
        migrations.CreateModel(
            name="DroppedRows",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("at", models.DateTimeField(db_default=Now())),
                ("source", models.TextField(help_text="As the source of a seal, such as 'timeline'.")),
                ("name", models.TextField(help_text="What was dropped, such as 'job_events_2026_03'.")),
                (
                    "ids",
                    models.TextField(help_text="Exactly the rows that were dropped, such as '1-8,10'."),
                ),
                ("row_count", models.BigIntegerField()),
                (
                    "content",
                    models.TextField(help_text="The hash of the canonical content of the rows, by id."),
                ),
                ("file", models.TextField(help_text="Where they were exported to; empty: nowhere.")),
                (
                    "left_over",
                    models.JSONField(
                        db_default={},
                        help_text="By seal that keeps some of its rows: the hash of their canonical content.",
                    ),
                ),
                ("by", models.TextField()),
            ],
            options={"db_table": "retention_drops", "ordering": ["id"], "default_permissions": ()},
        ),
        migrations.RunSQL(APPEND_ONLY, EDITABLE),
        ReplaceFunction(
            "drop_job_event_month",
            arguments="date, bigint, text, text, text, jsonb, text",
            beside="job_events",
            create=DROP_MONTH,
        ),
    ]
