"""Indexes on the contract's tables, built concurrently, each where it is missing or half built."""

from django.db import migrations, models

from opsconsole.kit.ddl import AddIndexOnline


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("jobs", "0001_contract_tables")]

    operations = [
        AddIndexOnline(
            "job",
            models.Index(
                condition=models.Q(("status", "in_progress")),
                fields=["updated_at", "id"],
                name="opsconsole_jobs_running_idx",
            ),
        ),
        AddIndexOnline(
            "job",
            models.Index(
                condition=models.Q(("status", "pending")),
                fields=["updated_at", "id"],
                name="opsconsole_jobs_waiting_idx",
            ),
        ),
        AddIndexOnline(
            "job",
            models.Index(
                condition=models.Q(("status", "pending")),
                fields=["queue", "updated_at", "id"],
                name="opsconsole_jobs_line_idx",
            ),
        ),
        AddIndexOnline("job", models.Index(fields=["-created_at", "-id"], name="opsconsole_jobs_newest_idx")),
        AddIndexOnline(
            "job", models.Index(fields=["status", "-created_at", "-id"], name="opsconsole_jobs_status_idx")
        ),
        AddIndexOnline(
            "job",
            models.Index(fields=["customer_id", "-created_at", "-id"], name="opsconsole_jobs_customer_idx"),
        ),
        AddIndexOnline(
            "workerheartbeat",
            models.Index(
                condition=models.Q(("current_job_id__isnull", False)),
                fields=["current_job_id"],
                name="opsconsole_heartbeats_job_idx",
            ),
        ),
    ]
