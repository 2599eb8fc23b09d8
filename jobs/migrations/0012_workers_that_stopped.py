"""``find_stale_jobs``: the heartbeats of a worker may have stopped just before its run."""

from importlib import import_module

from django.db import migrations

from opsconsole.kit.ddl import ReplaceFunction

BEFORE = import_module("jobs.migrations.0007_evidence_of_life").FIND_STALE_JOBS
# jobs.models.evidence_of_death.BEATS_BEFORE_RUN.
FIND_STALE_JOBS = BEFORE.replace(
    "workers.beat_at >= job.updated_at AND", "workers.beat_at >= job.updated_at - interval '1 day' AND"
)


class Migration(migrations.Migration):
    dependencies = [("jobs", "0011_measured_runs")]

    operations = [
        ReplaceFunction(
            "find_stale_jobs", arguments="timestamptz", beside="jobs", create=FIND_STALE_JOBS, before=BEFORE
        ),
    ]
