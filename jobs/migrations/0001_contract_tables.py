"""The contract's tables: made when absent, completed with our columns when they are somebody else's already."""

import uuid

import django.db.models.functions
from django.contrib.postgres.functions import RandomUUID
from django.db import migrations, models

import jobs.models.columns
from jobs.models.columns import column
from opsconsole.kit.ddl import EnsureTable

CUSTOMER_ID = column("jobs.customer_id")
PACKAGE_SIZE = column("jobs.package_size")
PRIORITY_LEVEL = column("jobs.priority_level")
LAST_HEARTBEAT = column("worker_heartbeats.last_heartbeat")

CREATE_JOBS = f"""
CREATE TABLE IF NOT EXISTS jobs (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    "{CUSTOMER_ID}" text NOT NULL,
    "{PACKAGE_SIZE}" integer NOT NULL,
    "{PRIORITY_LEVEL}" text NOT NULL DEFAULT 'starter',
    status text NOT NULL DEFAULT 'pending',
    error_message text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    completed_at timestamptz
)"""

OUR_JOB_COLUMNS = {
    "queue": "text NOT NULL DEFAULT 'default'",
    "run_epoch": "integer NOT NULL DEFAULT 1",
    "claimed_epoch": "integer",
    "recovery_count": "integer NOT NULL DEFAULT 0",
    "attempts": "integer NOT NULL DEFAULT 0",
    "not_before": "timestamptz",
    "deadline_at": "timestamptz",
    "worker_id": "text",
    "payload": "jsonb NOT NULL DEFAULT '{}'",
}

CREATE_HEARTBEATS = f"""
CREATE TABLE IF NOT EXISTS worker_heartbeats (
    worker_id text PRIMARY KEY,
    current_job_id uuid,
    "{LAST_HEARTBEAT}" timestamptz NOT NULL DEFAULT now()
)"""

OUR_HEARTBEAT_COLUMNS = {
    "current_run_epoch": "integer",
    "started_at": "timestamptz",
    "hostname": "text",
    "pid": "integer",
    "metadata": "jsonb NOT NULL DEFAULT '{}'",
}

JOB = migrations.CreateModel(
    name="Job",
    fields=[
        (
            "id",
            models.UUIDField(
                default=uuid.uuid4,
                db_default=RandomUUID(),
                editable=False,
                primary_key=True,
                serialize=False,
            ),
        ),
        ("customer_id", jobs.models.columns.ContractText(db_column=CUSTOMER_ID)),
        ("package_size", models.IntegerField(db_column=PACKAGE_SIZE)),
        (
            "priority_level",
            jobs.models.columns.ContractText(
                db_column=PRIORITY_LEVEL, db_default="starter", verbose_name="priority"
            ),
        ),
        ("status", jobs.models.columns.ContractText(db_default="pending")),
        ("error_message", models.TextField(blank=True, null=True)),
        ("created_at", models.DateTimeField(db_default=django.db.models.functions.Now())),
        ("updated_at", models.DateTimeField(db_default=django.db.models.functions.Now())),
        ("started_at", models.DateTimeField(blank=True, null=True)),
        ("completed_at", models.DateTimeField(blank=True, null=True)),
        ("queue", models.TextField(db_default="default")),
        ("run_epoch", models.IntegerField(db_default=1, verbose_name="epoch")),
        ("claimed_epoch", models.IntegerField(blank=True, null=True)),
        ("recovery_count", models.IntegerField(db_default=0, verbose_name="recoveries")),
        (
            "attempts",
            models.IntegerField(db_default=0, help_text="Runs that ended in a reported failure."),
        ),
        ("not_before", models.DateTimeField(blank=True, null=True)),
        ("deadline_at", models.DateTimeField(blank=True, null=True)),
        ("worker_id", models.TextField(blank=True, null=True, verbose_name="worker")),
        ("payload", models.JSONField(blank=True, db_default={})),
    ],
    options={
        "db_table": "jobs",
        "ordering": ["-created_at", "-id"],
        "permissions": [
            ("requeue_job", "Can requeue a job"),
            ("cancel_job", "Can cancel a job"),
            ("release_job", "Can release a job from quarantine"),
        ],
    },
)

WORKER_HEARTBEAT = migrations.CreateModel(
    name="WorkerHeartbeat",
    fields=[
        ("worker_id", models.TextField(primary_key=True, serialize=False)),
        ("current_job_id", models.UUIDField(blank=True, null=True)),
        (
            "last_heartbeat",
            models.DateTimeField(db_column=LAST_HEARTBEAT, db_default=django.db.models.functions.Now()),
        ),
        ("current_run_epoch", models.IntegerField(blank=True, null=True)),
        ("started_at", models.DateTimeField(blank=True, null=True)),
        ("hostname", models.TextField(blank=True, null=True)),
        ("pid", models.IntegerField(blank=True, null=True)),
        ("metadata", models.JSONField(blank=True, db_default={})),
    ],
    options={"db_table": "worker_heartbeats", "verbose_name": "worker"},
)


class Migration(migrations.Migration):
    initial = True
    atomic = False

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[JOB, WORKER_HEARTBEAT],
            database_operations=[
                EnsureTable("jobs", create=CREATE_JOBS, columns=OUR_JOB_COLUMNS),
                EnsureTable("worker_heartbeats", create=CREATE_HEARTBEATS, columns=OUR_HEARTBEAT_COLUMNS),
            ],
        ),
    ]
