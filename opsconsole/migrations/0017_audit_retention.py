"""The owner's function that alone deletes old lines of the audit: whole seals, of lines that are all old enough."""

from django.db import migrations

from opsconsole.kit.ddl import ReplaceFunction

# As long as the triggers are off, nobody else can write to the tables, so that nothing else passes them. How long lines are kept
# stands in the comment of the function, which only its owner can write ('opsconsole keeps 3650 days'; migrate does), and is never
# less than a year.
DELETE_LINES = """
CREATE FUNCTION {schema}.delete_audit_lines(seals bigint[], content text, dropped_by text)
RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {search_path} SET lock_timeout = '800ms' AS $body$
DECLARE
    kept_days constant integer := greatest(365, coalesce(substring(
        obj_description(to_regprocedure('{schema}.delete_audit_lines(bigint[],text,text)'), 'pg_proc')
        FROM '^opsconsole keeps ([0-9]{{1,5}}) days$')::integer, 3650));
    wanted_ids bigint[];
    listed text;
    wanted bigint;
    present bigint;
    newest timestamptz;
BEGIN
    SELECT string_agg(seal.ids, ',' ORDER BY seal.number), sum(seal.row_count) INTO listed, wanted
      FROM audit_seals AS seal WHERE seal.number = ANY (seals) AND seal.source = 'audit';
    SELECT array_agg(line.id), count(*), max(line.action_time) INTO wanted_ids, present, newest
      FROM regexp_split_to_table(listed, ',') AS piece,
           regexp_match(piece, '^(-?[0-9]+)(?:-(-?[0-9]+))?$') AS bounds,
           LATERAL (SELECT id, action_time FROM django_admin_log
                     WHERE id BETWEEN bounds[1]::bigint AND coalesce(bounds[2], bounds[1])::bigint) AS line;
    IF present = 0 OR present <> wanted THEN
        RAISE EXCEPTION 'these seals have % lines, and % are there', coalesce(wanted, 0), present
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF newest > now() - make_interval(days => kept_days) THEN
        RAISE EXCEPTION 'lines of the audit are kept for % days', kept_days USING ERRCODE = 'insufficient_privilege';
    END IF;
    ALTER TABLE django_admin_log DISABLE TRIGGER opsconsole_audit_append_only;
    ALTER TABLE audit_details DISABLE TRIGGER audit_details_insert_only;
    DELETE FROM audit_details WHERE entry_id = ANY (wanted_ids);
    DELETE FROM django_admin_log WHERE id = ANY (wanted_ids);
    ALTER TABLE audit_details ENABLE TRIGGER audit_details_insert_only;
    ALTER TABLE django_admin_log ENABLE TRIGGER opsconsole_audit_append_only;
    INSERT INTO retention_drops (source, name, ids, row_count, content, file, by)
    VALUES ('audit', format('seals %s to %s', seals[1], seals[array_length(seals, 1)]), listed, present, content, '', dropped_by);
    RETURN present;
END $body$
"""


class Migration(migrations.Migration):
    dependencies = [("opsconsole", "0016_dropped_months")]

    operations = [
        ReplaceFunction(
            "delete_audit_lines",
            arguments="bigint[], text, text",
            beside="job_events",
            create=DELETE_LINES,
        ),
    ]
