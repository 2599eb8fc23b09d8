"""``find_stale_jobs``: a worker that was restarted under its old id has lost the run of the process before."""

from importlib import import_module

from django.db import migrations

from jobs.models.columns import column
from opsconsole.kit.ddl import ReplaceFunction

BEFORE = import_module("jobs.migrations.0013_starts_in_the_future").FIND_STALE_JOBS
BEAT = f'own."{column("worker_heartbeats.last_heartbeat")}"'

# jobs.models.earlier_beats.LastOfProcesses.
LAST_OF_PROCESSES = f"""(SELECT CASE WHEN coalesce(own.metadata -> 'noted_at' = to_jsonb(extract(epoch FROM {BEAT})), false) THEN (
                    SELECT to_timestamp(max(last)::float8)
                      FROM (SELECT process, max(at) AS last, max(at) FILTER (WHERE run = job.id::text || ' ' || job.run_epoch) AS named
                              FROM (SELECT beat ->> 'process' AS process, beat ->> 'run' AS run,
                                           CASE jsonb_typeof(beat -> 'at') WHEN 'number' THEN (beat ->> 'at')::numeric END AS at
                                      FROM jsonb_array_elements(CASE jsonb_typeof(own.metadata -> 'earlier_beats') WHEN 'array'
                                                                THEN own.metadata -> 'earlier_beats' ELSE '[]' END) AS beat
                                     UNION ALL
                                    SELECT own.metadata ->> 'process', own.current_job_id::text || ' ' || own.current_run_epoch,
                                           extract(epoch FROM {BEAT})) AS beats
                             WHERE at BETWEEN 0 AND 4000000000
                             GROUP BY process) AS processes
                     WHERE named IS NOT NULL
                    HAVING bool_and(process <> '') AND max(named) > coalesce(
                               CASE jsonb_typeof(own.metadata -> 'unnoted_at') WHEN 'number'
                                    THEN (own.metadata ->> 'unnoted_at')::numeric END, 0)) END
                   FROM worker_heartbeats AS own WHERE own.worker_id = job.worker_id LIMIT 1)"""
SHARED = "WHEN workers.beat_at >= silence.stale_before\n"
FIND_STALE_JOBS = BEFORE.replace(
    SHARED,
    f"WHEN job.claimed_epoch = job.run_epoch AND {LAST_OF_PROCESSES} < silence.stale_before THEN true\n"
    f"                      {SHARED}",
)


class Migration(migrations.Migration):
    dependencies = [("jobs", "0013_starts_in_the_future")]

    operations = [
        ReplaceFunction(
            "find_stale_jobs", arguments="timestamptz", beside="jobs", create=FIND_STALE_JOBS, before=BEFORE
        ),
    ]
