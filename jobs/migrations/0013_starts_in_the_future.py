"""``find_stale_jobs``: a start in the future is no sign of life."""

from importlib import import_module

from django.db import migrations

from opsconsole.kit.ddl import ReplaceFunction

BEFORE = import_module("jobs.migrations.0012_workers_that_stopped").FIND_STALE_JOBS
# jobs.models.worker_observation.CLOCK_TOLERANCE.
FIND_STALE_JOBS = BEFORE.replace(
    "greatest(job.started_at, job.updated_at,",
    "greatest(CASE WHEN job.started_at <= statement_timestamp() + interval '1 minute' THEN job.started_at END,"
    " job.updated_at,",
)


class Migration(migrations.Migration):
    dependencies = [("jobs", "0012_workers_that_stopped")]

    operations = [
        ReplaceFunction(
            "find_stale_jobs", arguments="timestamptz", beside="jobs", create=FIND_STALE_JOBS, before=BEFORE
        ),
    ]
