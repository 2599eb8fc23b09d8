"""Status words of others: read, compared and written by the mapping, in an enum that never changes.

Ids are text, times have no zone, columns are missing, and the table is partitioned.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.attach.mapped import Mapped, mapped
from tests.databases import CONTRACT

MAPPING = """
[jobs]
id_type = "text"
[jobs.statuses]
pending = ["queued", "scheduled"]
in_progress = ["running"]
completed = ["done"]
failed = ["failed", "error"]
cancelled = []
quarantined = []
[jobs.columns]
updated_at = false
error_message = false
package_size = false
[jobs.times]
created_at = "without_zone"
completed_at = "without_zone"
[rate_limit_requests]
absent = true
"""
TABLES = (
    "CREATE TYPE job_state AS ENUM ('queued', 'scheduled', 'running', 'done', 'failed', 'error', 'paused', 'completed');"
    + CONTRACT.replace("uuid PRIMARY KEY DEFAULT gen_random_uuid()", "varchar(40) PRIMARY KEY")
    .replace("current_job_id uuid", "current_job_id varchar(40)")
    .replace("    package_size int NOT NULL,\n", "")
    .replace("    error_message text,\n", "")
    .replace("    updated_at timestamptz NOT NULL DEFAULT now(),\n", "")
    .replace("created_at timestamptz NOT NULL DEFAULT now()", "created_at timestamp NOT NULL DEFAULT now()")
    .replace("completed_at timestamptz", "completed_at timestamp")
    .replace("status text NOT NULL DEFAULT 'pending'", "status job_state NOT NULL DEFAULT 'queued'")
    .replace(
        ");\nCREATE TABLE worker_heartbeats", ") PARTITION BY HASH (id);\nCREATE TABLE worker_heartbeats"
    )
    + "CREATE TABLE jobs_0 PARTITION OF jobs FOR VALUES WITH (MODULUS 2, REMAINDER 0);"
    "CREATE TABLE jobs_1 PARTITION OF jobs FOR VALUES WITH (MODULUS 2, REMAINDER 1);"
    "INSERT INTO jobs (id, customer_id, status) SELECT 'job/' || word, word::text, word"
    " FROM unnest(enum_range(NULL::job_state)) AS word;"
)

LIFE = """
from datetime import timedelta
from django.db import connection
from django.db.models import Count, F, Q
from django.db.models.functions import Now
from jobs.admin.jobs.filters import unknown_statuses
from jobs.intake.enqueue import NewJob, enqueue
from jobs.intake.enqueue_elsewhere import enqueue_on
from jobs.messaging import leases
from jobs.models import Job, JobEvent, RecoveryControl, WorkerHeartbeat
from jobs.operations import job_operations
from jobs.operations.steps import JobAction
from jobs.recovery.sweeps import sweep
from jobs.runs import observations
from opsconsole_worker.runs import heartbeats
from opsconsole_worker.runs import lifecycle
from opsconsole_worker.runs.lifecycle import Run
from jobs.runs.timeline import Actor

ada, worker = Actor("operator:ada"), heartbeats.Worker("w-1")

def word(job):
    with connection.cursor() as cursor:
        cursor.execute("SELECT status::text FROM jobs WHERE id = %s", [job.pk])
        return cursor.fetchone()[0]

# Reading: several words are one status, and unknown ones are shown as they are.
theirs = {job.customer_id: job.status for job in Job.objects.all()}
assert theirs == {
    "queued": "pending", "scheduled": "pending", "running": "in_progress", "done": "completed", "failed": "failed",
    "error": "failed", "paused": "paused", "completed": "completed (theirs)",
}, theirs
counted = dict(Job.objects.order_by().values_list("status").annotate(Count("pk")))
assert (counted["pending"], counted["failed"], counted["paused"]) == (2, 2, 1), counted
found = lambda **by: set(Job.objects.filter(**by).values_list("customer_id", flat=True))
assert found(status="pending") == {"queued", "scheduled"} and found(status="cancelled") == set()
assert found(status__in=["failed", "completed (theirs)"]) == {"failed", "error", "completed"}
assert Job.objects.exclude(status__in=["pending", "cancelled"]).count() == 6
assert set(unknown_statuses()) == {"paused", "completed (theirs)"}

# Writing: the first word. A failed claim changes nothing.
scheduled = Job.objects.get(customer_id="scheduled")
assert lifecycle.claim(scheduled.pk, None, worker).id == scheduled.pk and word(scheduled) == "running"
assert heartbeats.beat(worker, scheduled.pk, 1) == heartbeats.Verdict.GO_ON
assert lifecycle.complete(Run(scheduled.pk, 1, worker)) and word(scheduled) == "done"
assert isinstance(lifecycle.claim(Job.objects.get(customer_id="paused").pk, None, worker), lifecycle.Refused)
new = enqueue(NewJob(customer_id="new", package_size=1))
assert (new.status, word(new)) == ("pending", "queued")
enqueue_on(connection.connection, NewJob(customer_id="other", package_size=1))
assert word(Job.objects.get(customer_id="other")) == "queued"
assert len(leases.take(10).letters) == 2
lifecycle.claim(new.pk, 1, worker)
assert lifecycle.fail(Run(new.pk, 1, worker), "no", retryable=False) == lifecycle.Failure.FAILED and word(new) == "failed"

# A worker that dies, and a job that kills its workers: without a word of its own, that is a failed one.
observations.look_at_beats(), observations.look_at_workers()
stale = enqueue(NewJob(customer_id="stale", package_size=1))
lifecycle.claim(stale.pk, 1, worker)
RecoveryControl.objects.update(mode="armed", beats_looked_at=None)
long_ago = Now() - timedelta(days=1)
def dies(job):
    Job.objects.filter(pk=job.pk).update(started_at=long_ago, updated_at=long_ago)
    WorkerHeartbeat.objects.update(last_heartbeat=long_ago)
    connection.cursor().execute("DELETE FROM worker_observations")
dies(stale)
with connection.cursor() as cursor:
    cursor.execute("SELECT customer_id FROM public.find_stale_jobs(now() - interval '10 minutes')")
    assert [row[0] for row in cursor.fetchall()] == ["stale"]
assert sweep("command").requeued == 1 and word(stale) == "queued"
lifecycle.claim(stale.pk, 2, worker)
Job.objects.filter(pk=stale.pk).update(recovery_count=3)
dies(stale)
assert sweep("command").quarantined == 1 and word(stale) == "failed"
assert JobEvent.objects.filter(job_id=stale.pk, kind="quarantined").count() == 1
def act(action, job):
    [outcome] = job_operations.carry_out(job_operations.plan(action, [job.pk]), ada, "because")
    return Job.objects.get(pk=job.pk)
again = act(JobAction.REQUEUE, stale)
assert (again.status, again.recovery_count, word(stale)) == ("pending", 0, "queued")
act(JobAction.CANCEL, stale)
assert word(stale) == "failed"

# The indexes serve the questions as they are asked, by querysets and by statements that read the contract's rows.
from jobs.models.columns import JOBS
with connection.cursor() as cursor:
    cursor.execute("SET enable_seqscan = off")
    running = f"SELECT id FROM {JOBS.rows} AS job WHERE {JOBS.is_status('in_progress', of='job')} AND job.updated_at < now()"
    cursor.execute(f"EXPLAIN {running} ORDER BY job.updated_at LIMIT 1")
    assert "Index Scan using opsconsole_jobs_running_idx" in str(cursor.fetchall())
assert "opsconsole_jobs_running_idx" in Job.objects.old_enough().order_by("updated_at")[:1].explain()
print("lived")
"""


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory, django_db_setup: None) -> Iterator[Mapped]:
    with mapped(tmp_path_factory.mktemp("words"), MAPPING, TABLES) as found:
        yield found


def test_console_reads_and_writes_words_of_others(there: Mapped) -> None:
    assert there.run(LIFE).strip().endswith("lived")


def test_partial_indexes_hold_the_words(there: Mapped) -> None:
    conditions = dict(
        there.database.sql(
            "SELECT indexname, indexdef FROM pg_indexes WHERE indexname LIKE 'opsconsole_jobs%' AND indexdef LIKE '%WHERE%'"
        )
    )
    assert "'running'" in conditions["opsconsole_jobs_running_idx"]
    invalid = "SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid"
    assert there.database.sql(invalid) == []
    assert {"queued", "scheduled"} == {
        word for word in ("queued", "scheduled", "pending") if word in conditions["opsconsole_jobs_since_idx"]
    }
    with there.database.connect() as session:
        session.execute("SET enable_seqscan = off")
        plan = session.execute(
            "EXPLAIN SELECT id FROM jobs WHERE status IN ('queued', 'scheduled') ORDER BY queue LIMIT 1"
        ).fetchall()
    assert "Seq Scan" not in str(plan) and "Index" in str(plan)


def test_action_without_any_word_is_refused_with_a_sentence(there: Mapped) -> None:
    there.file.write_text(MAPPING.replace('failed = ["failed", "error"]', "failed = []"))
    refused = """
from jobs.intake.enqueue import NewJob, enqueue
from jobs.models import Job
from jobs.operations import job_operations
from jobs.operations.steps import JobAction
from opsconsole_worker.runs import heartbeats
from opsconsole_worker.runs import lifecycle
from opsconsole.kit.mapping import NoWord
job, worker = enqueue(NewJob(customer_id="x", package_size=1)), heartbeats.Worker("w-9")
[step] = job_operations.plan(JobAction.CANCEL, [job.pk])
assert not step.will and "no word for 'cancelled'" in step.sentence, step
lifecycle.claim(job.pk, 1, worker)
try:
    lifecycle.fail(lifecycle.Run(job.pk, 1, worker), "no", retryable=False)
except NoWord as error:
    assert str(error).endswith("The run was not ended."), error
assert Job.objects.get(pk=job.pk).status == "in_progress"
try:
    Job.objects.filter(pk=job.pk).update(status="failed")
except NoWord as error:
    print(error)
"""
    try:
        said = there.run(refused)
    finally:
        there.file.write_text(MAPPING)
    assert said.strip() == ("This database has no word for 'failed' in jobs.status. Nothing was changed.")


def test_uninstall_leaves_nothing(there: Mapped) -> None:
    """It comes last: the console is gone afterwards."""
    there.leave()
