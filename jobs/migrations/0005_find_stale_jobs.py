"""``find_stale_jobs(threshold)``: the question of ``Job.objects.stale()`` for callers that speak SQL only.

The types of what it returns are those of the table's columns. Its clock is Django's ``Now()``: the statement's.
"""

from django.db import migrations

from jobs.models.columns import column
from jobs.models.queue import MAX_VISIBILITY_SECONDS
from opsconsole.kit.ddl import ReplaceFunction

CUSTOMER_ID = column("jobs.customer_id")
PACKAGE_SIZE = column("jobs.package_size")
PRIORITY_LEVEL = column("jobs.priority_level")
LAST_HEARTBEAT = column("worker_heartbeats.last_heartbeat")

CREATE = f"""
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


class Migration(migrations.Migration):
    dependencies = [("jobs", "0004_append_only_and_control")]

    operations = [
        ReplaceFunction("find_stale_jobs", arguments="timestamptz", beside="jobs", create=CREATE),
    ]
