"""The whole console on contract tables of other schemas, names and columns, where times are printed in other styles, too."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.attach.mapped import NAMES, TABLES, Mapped, mapped

LIFE = """
from datetime import timedelta
from uuid import uuid4
from django.core.management import call_command
from django.db import connection
from django.db.models.functions import Now
from jobs.intake.enqueue import NewJob, enqueue
from jobs.intake.enqueue_elsewhere import enqueue_on
from jobs.messaging import leases
from jobs.models import Job, JobEvent, Outbox, RecoveryControl, WorkerHeartbeat
from jobs.operations import job_operations
from jobs.operations.steps import JobAction
from jobs.recovery.sweeps import sweep
from jobs.restores import fencing, signs, suspects
from jobs.runs import observations
from opsconsole_worker.runs import heartbeats
from opsconsole_worker.runs import lifecycle, progress
from opsconsole_worker.runs.lifecycle import Run
from jobs.runs.timeline import Actor
from jobs.watch import refused_claims
from ratelimits.models import RateLimitHour, RateLimitRequest
from ratelimits.records import recording, top_clients, usage_report

ada, worker, other = Actor("operator:ada"), heartbeats.Worker("w-1"), heartbeats.Worker("w-2")

def new(customer):
    return enqueue(NewJob(customer_id=customer, package_size=5))

def status(job):
    return Job.objects.values_list("status", flat=True).get(pk=job.pk)

# A run that completes, one that fails and is tried again, and one that is given back.
done = new("done")
assert lifecycle.claim(done.pk, None, worker).customer_id == "done"
assert heartbeats.beat(worker, done.pk, 1) == heartbeats.Verdict.GO_ON
assert lifecycle.note(Run(done.pk, 1, worker), "half of it")
assert lifecycle.complete(Run(done.pk, 1, worker)) and status(done) == "completed"
assert not lifecycle.complete(Run(done.pk, 1, other))
failing = new("failing")
assert lifecycle.claim(failing.pk, 1, worker).last_progress is None
assert progress.report(worker, failing.pk, 1, 30, "3 of 10") == heartbeats.Verdict.GO_ON
assert lifecycle.fail(Run(failing.pk, 1, worker), "no", retryable=True) == lifecycle.Failure.RETRY
Job.objects.filter(pk=failing.pk).update(not_before=None)
assert progress.report(worker, failing.pk, 1, 90, "too late") == heartbeats.Verdict.SUPERSEDED
assert lifecycle.claim(failing.pk, 2, worker).last_progress.percent == 30
assert lifecycle.fail(Run(failing.pk, 2, worker), "no", retryable=False) == lifecycle.Failure.FAILED
assert Job.objects.get(pk=failing.pk).error_message == "no" and status(failing) == "failed"
back = new("back")
lifecycle.claim(back.pk, 1, other)
assert lifecycle.give_back(back.pk, other) and status(back) == "pending"
enqueue_on(connection.connection, NewJob(customer_id="elsewhere", package_size=1))
assert {letter.message.customer_id for letter in leases.take(10).letters} >= {"back", "elsewhere"}

# A worker that dies: it is found stale by every form of the question, and recovered; in the end it is quarantined.
stale = new("stale")
lifecycle.claim(stale.pk, 1, worker)
observations.look_at_beats(), observations.look_at_workers()
assert not Job.objects.stale().exists()
RecoveryControl.objects.update(mode="armed", beats_looked_at=None)
long_ago = Now() - timedelta(days=1)
def dies(job):
    Job.objects.filter(pk=job.pk).update(started_at=long_ago, updated_at=long_ago)
    WorkerHeartbeat.objects.update(last_heartbeat=long_ago)
    connection.cursor().execute("DELETE FROM worker_observations")
dies(stale)
assert Job.objects.stale().get().pk == stale.pk
call_command("find_stale_jobs")
with connection.cursor() as cursor:
    cursor.execute('''SELECT id, customer_id FROM @FUNCTIONS@find_stale_jobs(now() - interval '10 minutes')''')
    assert cursor.fetchall() == [(stale.pk, "stale")]
assert sweep("command").requeued == 1
row = Job.objects.get(pk=stale.pk)
assert (row.status, row.run_epoch, row.error_message[:9], row.started_at) == ("pending", 2, "Recovered", None), row
lifecycle.claim(stale.pk, 2, worker)
Job.objects.filter(pk=stale.pk).update(recovery_count=3)
JobEvent.objects.bulk_create([JobEvent(job_id=stale.pk, kind="recovered", actor="x", details={"counted": True})] * 3)
dies(stale)
assert sweep("command").quarantined == 1 and status(stale) == "quarantined"

# Operators, a restore, and the reports.
for action, job, after in [
    (JobAction.RELEASE, stale, "pending"), (JobAction.REQUEUE, failing, "pending"), (JobAction.CANCEL, back, "cancelled"),
]:
    [outcome] = job_operations.carry_out(job_operations.plan(action, [job.pk]), ada, "because")
    assert status(job) == after, outcome
restore = fencing.restored(ada, "the disk burnt", completed=[failing.pk])
assert status(failing) == "completed" and suspects.of(restore.restore).queues is not None
signs.watch(), refused_claims.present()
recording.note("standard", "address:203.0.113.7", "/x", "GET", "limited")
recording.flush(), recording.note("standard", "address:203.0.113.7", "/x", "GET", "limited"), recording.flush()
assert RateLimitRequest.objects.limited().requests() == 2
assert [client.key for client in top_clients.busiest_clients("standard")] == ["address:203.0.113.7"]
assert recording.cleanup() == 1 and RateLimitHour.objects.get().endpoint == "/"
with connection.cursor() as cursor:
    cursor.execute('''INSERT INTO "ApiCall" (caller, path, verb, "calledAt")
        VALUES ('k', '/by sql', 'GET', now() - interval '2 hours')''')
    cursor.execute("SELECT public.cleanup_rate_limit_requests()")
    assert cursor.fetchone() == (1,) and RateLimitHour.objects.filter(endpoint="/by sql").exists()
# The printed protocol.
import io, re
printed = io.StringIO()
call_command("worker_sql", stdout=printed)
blocks = dict(re.findall(r"-- ([a-z ]+)\\n(.*?;)(?=\\n\\n--|\\s*$)", printed.getvalue(), re.DOTALL))
def say(name, job, **given):
    statement = re.sub(r"(?<!:):([a-z_]+)", r"%(\\1)s", blocks[name].replace("%", "%%"))
    given |= dict(job_id=job.pk, worker="sql-1", process="sql-1 1", hostname=None, pid=None, actor="worker:sql-1")
    with connection.cursor() as cursor:
        cursor.execute(statement, given)
        first = cursor.fetchall() if cursor.description else []
        while cursor.nextset():
            last = cursor.fetchall() if cursor.description else []
        return first
by_sql = new("by sql")
assert say("claim", by_sql, epoch=1) == [(1,)] and status(by_sql) == "in_progress"
say("heartbeat", by_sql, epoch=1), say("progress", by_sql, epoch=1, note="half", reference=None)
assert say("progress in percent", by_sql, epoch=1, percent=50, text="half")[0][0] == "in_progress"
assert [row[:3] for row in say("last progress", by_sql, epoch=2)] == [(50.0, "half", 1)]
say("complete", by_sql, epoch=1, details="{}")
assert status(by_sql) == "completed"
assert printed.getvalue().startswith("-- A run is taken no earlier than 10 min after ")
assert 'GRANT SELECT, UPDATE ON "JobManager"."Job" TO your_worker;' in printed.getvalue()
call_command("enqueue_jobs", customer="acme", package_size=5)
call_command("inspect_database")

# Pages, addresses and messages.
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import resolve
from opsconsole_worker.messages import parse_body
admin = get_user_model().objects.create_superuser("ada", "", "x")
client = Client(headers={"host": "localhost"})
client.force_login(admin)
for page in ["", f"{stale.pk}/change/", f"?q={stale.pk}", "?q=stale", "?status=failed", "?status=other"]:
    answer = client.get(f"/admin/jobs/job/{page}", secure=True)
    assert answer.status_code == 200 and b"stale" in answer.content or page.startswith("?status"), (page, answer.status_code)
for page in ["jobs/workerheartbeat/", "jobs/outbox/", "jobs/sweep/", ""]:
    assert client.get(f"/admin/{page}", secure=True).status_code == 200, page
assert resolve(f"/api/jobs/{stale.pk}/claim").kwargs == {"job_id": stale.pk}
assert parse_body(f'{{"job_id": "{stale.pk}", "customer_id": "c"}}', 1000).job_id == stale.pk

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


# How the database of somebody else prints times and durations.
STYLES = """
DO $$ DECLARE style text; BEGIN
    FOREACH style IN ARRAY ARRAY['datestyle = German', 'intervalstyle = iso_8601', 'timezone = Iran'] LOOP
        EXECUTE format('ALTER DATABASE %I SET ', current_database()) || style;
    END LOOP;
END $$;
"""


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory, django_db_setup: None) -> Iterator[Mapped]:
    with mapped(tmp_path_factory.mktemp("names"), NAMES, TABLES + STYLES) as found:
        yield found


def test_console_lives_on_tables_of_other_names(there: Mapped) -> None:
    there.database.sql("INSERT INTO \"ApiCall\" (caller, path, verb) VALUES ('k', '/', 'GET')")
    life = LIFE.replace("@FUNCTIONS@", '"JobManager".')
    assert there.run(life).strip().endswith("lived")


def test_nothing_is_created_beside_the_mapped_tables(there: Mapped) -> None:
    names = there.database.sql(
        "SELECT nspname || '.' || relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE relname IN ('jobs', 'worker_heartbeats', 'rate_limit_requests')"
    )
    assert names == []
    conditions = there.database.sql(
        "SELECT tablename, indexdef FROM pg_indexes WHERE indexname LIKE 'opsconsole%' AND indexdef LIKE '%WHERE%'"
    )
    assert {table for table, _ in conditions} == {"Job", "order"}


def test_models_are_as_the_migrations_left_them(there: Mapped) -> None:
    there.manage("makemigrations", "--check", "--dry-run")


def test_uninstall_leaves_nothing(there: Mapped) -> None:
    """It comes last: the console is gone afterwards."""
    there.leave()
