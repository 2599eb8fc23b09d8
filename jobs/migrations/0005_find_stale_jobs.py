"""``find_stale_jobs(threshold)``: the question of ``Job.objects.stale()`` for callers that speak SQL only.

Its column types follow the table's, so it is made from the catalogue. An existing function of that name and
argument is replaced, whatever it returned.
"""

from django.db import migrations

from jobs.columns import column
from jobs.models.queue import MAX_VISIBILITY_SECONDS

CREATE = f"""
DO $migration$
DECLARE
    result text;
BEGIN
    SELECT string_agg(format('%I %s', wanted.name, format_type(atttypid, atttypmod)), ', ' ORDER BY wanted.place)
      INTO result
      FROM (VALUES ('id', 'id', 1), ('customer_id', '{column("jobs.customer_id")}', 2),
                   ('package_size', '{column("jobs.package_size")}', 3),
                   ('priority_level', '{column("jobs.priority_level")}', 4)) AS wanted (name, actual, place)
      JOIN pg_attribute ON attrelid = 'jobs'::regclass AND attname = wanted.actual AND NOT attisdropped;

    DROP FUNCTION IF EXISTS find_stale_jobs(timestamptz);
    EXECUTE format($create$
        CREATE FUNCTION find_stale_jobs(threshold timestamptz) RETURNS TABLE (%s)
        LANGUAGE sql STABLE SET search_path = %I, pg_temp AS $body$
            SELECT job.id, job."{column("jobs.customer_id")}", job."{column("jobs.package_size")}",
                   job."{column("jobs.priority_level")}"
            FROM jobs AS job
            WHERE job.status = 'in_progress'
              AND job.updated_at < threshold
              AND greatest(
                      job.started_at,
                      job.updated_at,
                      (SELECT outage_ended_at FROM recovery_control),
                      (SELECT max(beat."{column("worker_heartbeats.last_heartbeat")}")
                         FROM worker_heartbeats AS beat
                        WHERE beat.current_job_id = job.id
                          AND (beat.current_run_epoch = job.run_epoch
                               OR beat.current_run_epoch IS NULL AND job.claimed_epoch IS NULL))
                  ) < CASE WHEN job.claimed_epoch IS NULL
                           THEN least(threshold, now() - make_interval(secs => coalesce(
                                    (SELECT visibility_timeout_seconds FROM queue_state
                                      WHERE name = job.queue), {MAX_VISIBILITY_SECONDS})))
                           ELSE threshold END
        $body$ $create$, result, current_schema());
    REVOKE EXECUTE ON FUNCTION find_stale_jobs(timestamptz) FROM PUBLIC;
END
$migration$;
"""


class Migration(migrations.Migration):
    dependencies = [("jobs", "0004_append_only_and_control")]

    operations = [
        migrations.RunSQL(CREATE, "DROP FUNCTION IF EXISTS find_stale_jobs(timestamptz)"),
    ]
