"""What the console has seen of workers, the rule for unknown runs, and ``find_stale_jobs`` by that evidence."""

from importlib import import_module

from django.db import migrations, models
from django.db.models.functions import Now

from jobs.models.columns import column
from jobs.models.queue import MAX_VISIBILITY_SECONDS
from opsconsole.kit.ddl import ReplaceFunction

CUSTOMER_ID = column("jobs.customer_id")
PACKAGE_SIZE = column("jobs.package_size")
PRIORITY_LEVEL = column("jobs.priority_level")
BEAT = f'beat."{column("worker_heartbeats.last_heartbeat")}"'

# When a heartbeat counts: jobs.models.worker_observation.CountedBeat.
COUNTED_BEAT = f"""coalesce(
    (SELECT CASE WHEN seen.beat_at = {BEAT} THEN coalesce(seen.seen_at, {BEAT})
                 WHEN seen.seen_at IS NOT NULL
                      OR {BEAT} < (SELECT beats_looked_at FROM recovery_control) - interval '1 minute'
                 THEN statement_timestamp() END
       FROM worker_observations AS seen WHERE seen.worker_id = beat.worker_id),
    CASE WHEN {BEAT} > statement_timestamp() + interval '1 minute' THEN statement_timestamp() ELSE {BEAT} END)"""

# The question of Job.objects.stale(): silent runs (jobs.models.staleness) with enough evidence that their worker is dead
# (jobs.models.evidence_of_death). The types of what it returns are those of the table's columns. Its clock is Django's
# Now(): the statement's.
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
    CROSS JOIN LATERAL (
        SELECT (SELECT max({COUNTED_BEAT})
                  FROM worker_heartbeats AS beat
                 WHERE beat.current_job_id = job.id
                   AND (beat.current_run_epoch = job.run_epoch
                        OR beat.current_run_epoch IS NULL AND job.claimed_epoch IS NULL)) AS beat_at,
               statement_timestamp() - make_interval(secs => coalesce(
                   (SELECT visibility_timeout_seconds FROM queue_state WHERE name = job.queue),
                   {MAX_VISIBILITY_SECONDS})) AS left_to_sqs_until
    ) AS own
    CROSS JOIN LATERAL (
        SELECT greatest(job.started_at, job.updated_at, own.beat_at, (SELECT outage_ended_at FROM recovery_control))
                   AS last_seen,
               CASE WHEN job.claimed_epoch IS NULL THEN least(threshold, own.left_to_sqs_until) ELSE threshold END
                   AS stale_before
    ) AS silence
    WHERE job.status = 'in_progress'
      AND job.updated_at < threshold
      AND silence.last_seen < silence.stale_before
      AND (CASE
            WHEN job.claimed_epoch = job.run_epoch
                 AND NOT job.worker_id IN (SELECT worker_id FROM worker_observations
                                            WHERE shared_at > statement_timestamp() - interval '1 day') THEN true
            WHEN own.beat_at IS NOT NULL THEN true
            ELSE (SELECT CASE
                      WHEN workers.beat_at >= job.updated_at AND workers.beat_at < silence.stale_before THEN true
                      WHEN workers.beat_at >= silence.stale_before
                           AND job.worker_id IN (SELECT worker_id FROM worker_observations
                                                  WHERE shared_at > statement_timestamp() - interval '1 day') THEN false
                      ELSE job.claimed_epoch IS NOT NULL AND job.claimed_epoch = job.run_epoch
                           OR EXISTS (SELECT FROM queue_naming AS naming
                                       WHERE naming.queue = job.queue AND naming.seen >= 10
                                         AND naming.named >= naming.seen * 0.9) END
                    FROM (SELECT (SELECT {COUNTED_BEAT} FROM worker_heartbeats AS beat
                                   WHERE beat.worker_id = job.worker_id LIMIT 1) AS beat_at) AS workers) END
           OR coalesce(silence.last_seen < (
                  SELECT CASE unknown_rule WHEN 'after' THEN statement_timestamp() - unknown_after
                                           WHEN 'visibility' THEN own.left_to_sqs_until END
                    FROM recovery_control), false))
$body$
"""
BEFORE = import_module("jobs.migrations.0006_functions_and_triggers").FIND_STALE_JOBS


class Migration(migrations.Migration):
    dependencies = [("jobs", "0006_functions_and_triggers")]

    operations = [
        migrations.CreateModel(
            name="WorkerObservation",
            fields=[
                ("worker_id", models.TextField(primary_key=True, serialize=False)),
                (
                    "beat_at",
                    models.DateTimeField(
                        help_text="The last recorded heartbeat, as its worker wrote it.", null=True
                    ),
                ),
                (
                    "seen_at",
                    models.DateTimeField(
                        help_text="When that heartbeat was sent, by the database's clock.", null=True
                    ),
                ),
                (
                    "clock_offset",
                    models.DurationField(
                        help_text="How far the worker's clock is ahead of the database's.", null=True
                    ),
                ),
                (
                    "process",
                    models.TextField(
                        db_default="", help_text="Host, pid and start time of the last heartbeat."
                    ),
                ),
                ("process_before", models.TextField(null=True)),
                (
                    "shared_at",
                    models.DateTimeField(
                        help_text="When its id was last seen to serve several processes or jobs at once.",
                        null=True,
                    ),
                ),
            ],
            options={
                "db_table": "worker_observations",
                "default_permissions": (),
                "indexes": [
                    models.Index(
                        condition=models.Q(("shared_at__isnull", False)),
                        fields=["shared_at"],
                        name="worker_observations_shared_idx",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="QueueNaming",
            fields=[
                ("queue", models.TextField(primary_key=True, serialize=False)),
                ("seen", models.FloatField(db_default=0)),
                ("named", models.FloatField(db_default=0)),
                ("measured_at", models.DateTimeField(db_default=Now())),
            ],
            options={"db_table": "queue_naming", "default_permissions": ()},
        ),
        migrations.AddField(
            "recoverycontrol",
            "beats_looked_at",
            models.DateTimeField(
                help_text="When the console last compared the heartbeats with the earlier ones.", null=True
            ),
        ),
        migrations.AddField(
            "recoverycontrol",
            "unknown_rule",
            models.TextField(
                choices=[
                    ("never", "never: operators decide about each"),
                    ("after", "after a time of silence"),
                    ("visibility", "after the visibility timeout of the queue"),
                ],
                db_default="never",
            ),
        ),
        migrations.AddField(
            "recoverycontrol",
            "unknown_after",
            models.DurationField(
                help_text="How long such a run must be silent before it is recovered.", null=True
            ),
        ),
        ReplaceFunction(
            "find_stale_jobs", arguments="timestamptz", beside="jobs", create=FIND_STALE_JOBS, before=BEFORE
        ),
    ]
