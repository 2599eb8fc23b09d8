"""Databases whose contract tables have other names, and programs that live there with OPSCONSOLE_MAPPING set."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from tests import databases, dumps
from tests.databases import Database

# Nothing answers there.
NO_QUEUE = "http://127.0.0.1:9/123456789012/jobs"
NAMES = """
[jobs]
schema = "JobManager"
table = "Job"
id_type = "bigint"
[jobs.columns]
id = "jobId"
customer_id = "customerId"
package_size = "size"
priority_level = "Priority"
status = "state"
error_message = "lastError"
created_at = "createdAt"
updated_at = "updatedAt"
started_at = "startedAt"
completed_at = "finishedAt"
[jobs.times]
created_at = "epoch_milliseconds"
updated_at = "epoch_milliseconds"
started_at = "epoch_seconds"
completed_at = "epoch_milliseconds"
[worker_heartbeats]
schema = "JobManager"
table = "order"
[worker_heartbeats.columns]
worker_id = "workerId"
current_job_id = "jobId"
last_heartbeat = "lastSeen"
[worker_heartbeats.times]
last_heartbeat = "without_zone:Europe/Berlin"
[rate_limit_requests]
table = "ApiCall"
[rate_limit_requests.columns]
id = "callId"
key = "caller"
endpoint = "path"
method = "verb"
created_at = "calledAt"
"""

TABLES = """
CREATE SCHEMA "JobManager";
CREATE TABLE "JobManager"."Job" (
    "jobId" bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    "customerId" text NOT NULL,
    size integer NOT NULL,
    "Priority" text NOT NULL DEFAULT 'starter',
    state text NOT NULL DEFAULT 'pending',
    "lastError" text,
    "createdAt" bigint NOT NULL,
    "updatedAt" bigint NOT NULL,
    "startedAt" integer,
    "finishedAt" bigint
);
CREATE TABLE "JobManager"."order" (
    "workerId" text PRIMARY KEY,
    "jobId" bigint,
    "lastSeen" timestamp(3) NOT NULL
);
CREATE TABLE "ApiCall" (
    "callId" uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    caller text NOT NULL,
    path text NOT NULL,
    verb text NOT NULL,
    "calledAt" timestamptz NOT NULL DEFAULT now()
);
INSERT INTO "ApiCall" (caller, path, verb, "calledAt") VALUES ('k', '/', 'GET', now() - interval '2 hours');
"""


@dataclass(frozen=True)
class Mapped:
    """A database and the file that maps it. ``before``: its schema before the console was attached."""

    database: Database
    file: Path
    before: list[str]

    def manage(self, *words: str, **environment: str) -> str:
        """Run a command of the console there; return what it printed."""
        done: subprocess.CompletedProcess[str] = self.database.manage(
            *words, **{"OPSCONSOLE_MAPPING": str(self.file), "SQS_QUEUE_URL": NO_QUEUE} | environment
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def leave(self) -> None:
        """Uninstall the console, and check that nothing of it is left."""
        self.manage("uninstall", "--yes")
        assert dumps.schema(self.database) == self.before

    def run(self, program: str) -> str:
        """Run Python code there, as ``manage.py shell`` does."""
        return self.manage("shell", "-v0", "-c", program)


@contextmanager
def mapped(folder: Path, mapping: str, tables: str) -> Iterator[Mapped]:
    """Create a database with these tables, and migrate the console there."""
    database = databases.create(settings.DATABASES["default"])
    try:
        database.sql(tables)
        file = folder / "mapping.toml"
        file.write_text(mapping)
        there = Mapped(database, file, dumps.schema(database))
        there.manage("migrate", "-v0")
        yield there
    finally:
        databases.drop(database)
