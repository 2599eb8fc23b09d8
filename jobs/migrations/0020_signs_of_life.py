"""``find_stale_jobs``: signs of life other than heartbeats that name their job, where the mapping names one."""

from importlib import import_module

from django.db import migrations

from jobs.models.columns import column
from opsconsole.kit import mapping, mapping_version
from opsconsole.kit.ddl import ReplaceFunction

BEFORE = import_module("jobs.migrations.0014_restarted_workers").FIND_STALE_JOBS
JOBS = mapping.current().jobs
TOLD_BY = JOBS.life.told_by
BEAT = f'beat."{column("worker_heartbeats.last_heartbeat")}"'

# jobs.models.row_beat. The rows of a mapped table have the column of job_column as life_at.
TOLD_AT = "job.updated_at" if TOLD_BY == mapping.UPDATED_AT else "job.life_at"
ROW_BEAT = f"""CASE WHEN job.claimed_epoch IS NULL AND isfinite({TOLD_AT}) AND {TOLD_AT} <= statement_timestamp() + interval '1 minute'
                          AND {TOLD_AT} >= coalesce(job.started_at, job.updated_at, '-infinity') - interval '1 minute'
                         THEN {TOLD_AT} END"""
# jobs.models.worker.WorkerHeartbeatQuerySet.of_run.
OF_ITS_WORKER = f"""
                    OR job.claimed_epoch IS NULL AND beat.worker_id = job.worker_id
                       AND {BEAT} >= job.updated_at - interval '1 day'"""
FIRST, LAST = "SELECT (SELECT max(", "AND job.claimed_epoch IS NULL)"
# jobs.models.evidence_of_death: a run of their workers that does not show this sign is unknown.
HEARD = "WHEN own.beat_at IS NOT NULL THEN true"
NO_SIGN = "" if TOLD_BY == mapping.VISIBILITY else " AND own.beat_at IS NULL"
UNKNOWN = f"WHEN job.claimed_epoch IS DISTINCT FROM job.run_epoch{NO_SIGN} THEN false\n            {HEARD}"
# opsconsole.kit.mapping_version looks for the mapping.
NOTE = f"    -- life: {TOLD_BY}\n    -- mapping: {mapping_version.of(mapping.current())}\n"
FIND_STALE_JOBS = BEFORE.replace("AS $body$\n", f"AS $body$\n{NOTE}", 1)
if TOLD_BY != mapping.BEATS:
    FIND_STALE_JOBS = FIND_STALE_JOBS.replace(HEARD, UNKNOWN, 1)
if TOLD_BY == mapping.WORKER_BEATS:
    FIND_STALE_JOBS = FIND_STALE_JOBS.replace(LAST, f"{LAST}{OF_ITS_WORKER}", 1)
if TOLD_BY in {mapping.JOB_COLUMN, mapping.UPDATED_AT}:
    FIND_STALE_JOBS = FIND_STALE_JOBS.replace(FIRST, "SELECT greatest((SELECT max(", 1).replace(
        f"{LAST}) AS beat_at", f"{LAST}), {ROW_BEAT}) AS beat_at", 1
    )


class Migration(migrations.Migration):
    # The latter makes the function of 0014 again.
    dependencies = [("jobs", "0019_mapped_names"), ("opsconsole", "0006_inherited_grants")]

    operations = [
        ReplaceFunction(
            "find_stale_jobs", arguments="timestamptz", beside="jobs", create=FIND_STALE_JOBS, before=BEFORE
        ),
    ]
