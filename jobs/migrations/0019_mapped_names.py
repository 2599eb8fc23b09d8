"""The names that the contract tables have in this database, and the type of the ids of jobs in the console's tables."""

from django.db import migrations

from opsconsole.kit.mapped_operations import NameAsMapped, RetypeJobIds


class Migration(migrations.Migration):
    dependencies = [("jobs", "0018_titles_of_a_redaction")]

    operations = [
        NameAsMapped("job", "jobs"),
        NameAsMapped("workerheartbeat", "worker_heartbeats"),
        RetypeJobIds(
            columns={
                "job_events": "job_id",
                "outbox": "job_id",
                "dead_letters": "job_id",
                "measured_runs": "job_id",
            },
            references={"workerheartbeat": "current_job_id", "measuredrun": "job_id"},
        ),
    ]
