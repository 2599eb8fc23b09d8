"""The console on a piece of the gallery, in one process: attach, recover what a killed worker left, finish it, look at it.

``python -m tests.attach.console_life NAME``, with DATABASE_URL and OPSCONSOLE_MAPPING set. It ends with an error at the first
thing that is not as the piece's mapping says.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

import django
from django.core.management import call_command

from opsconsole.kit import mapping


def main(name: str) -> None:
    django.setup()
    call_command("migrate", verbosity=0)
    call_command("makemigrations", check_changes=True, verbosity=0)
    job_id = _left_by_a_killed_worker(name)
    _judge(job_id)
    _recover(job_id)
    _complete(job_id)
    _fail_and_requeue()
    _create()
    _look(job_id)
    sys.stdout.write("lived\n")


def _left_by_a_killed_worker(name: str) -> Any:
    """Let a worker of their kind claim a job and die."""
    from jobs.models import Job

    with subprocess.Popen(
        [sys.executable, "-m", "tests.attach.foreign_worker", name, os.environ["DATABASE_URL"]],
        stdout=subprocess.PIPE,
        text=True,
    ) as worker:
        assert worker.stdout
        written = worker.stdout.readline().strip()
        os.kill(worker.pid, signal.SIGKILL)
    job = Job.objects.get(pk=written)
    assert job.status == "in_progress", job.status
    return job.pk


def _judge(job_id: Any) -> None:
    """Check what is said of the run as time passes: it lives while its sign moves, and is unknown where there is none."""
    from django.db import transaction

    from jobs.models import Job, QueueNaming
    from jobs.recovery import rescue
    from jobs.recovery.decision import Policy, SweepAction, decide

    jobs = mapping.current().jobs
    if jobs.life.told_by != mapping.BEATS:
        # What workers of the protocol do says nothing about theirs.
        QueueNaming.objects.create(queue="default", seen=100, named=100)
    _is_judged(job_id, stale=False, unknown=False)
    if not _tells_of(job_id):
        _write(job_id, run=LONG_AGO)
        _is_judged(job_id, stale=False, unknown=True)
        if jobs.life.told_by == mapping.VISIBILITY:
            _is_not_judged_by_heartbeats(job_id)
        return
    if jobs.life.told_by != mapping.UPDATED_AT:
        _write(job_id, run=LONG_AGO)
        _is_judged(job_id, stale=False, unknown=False)
    for sign in _no_signs():
        _write(job_id, run=LONG_AGO, sign=sign)
        _is_judged(job_id, stale=False, unknown=True)
    if jobs.life.told_by == mapping.WORKER_BEATS:
        with transaction.atomic():
            _write(job_id, run=LONG_AGO, worker=False)
            _is_judged(job_id, stale=False, unknown=True)
            transaction.set_rollback(True)
    _write(job_id, run=LONG_AGO, sign=LONG_AGO)
    _is_judged(job_id, stale=True, unknown=False)

    # A sign between the two statements of a sweep wins.
    policy = Policy(max_recoveries=3, queues=frozenset({"default"}), cutoff=None, forgiven_before=None)
    decision = decide(Job.objects.with_evidence().get(pk=job_id), policy)
    assert decision.action == SweepAction.REQUEUE, decision
    _write(job_id, sign="statement_timestamp()")
    with transaction.atomic():
        assert Job.objects.filter(pk=job_id).exists()
        assert rescue.requeue([decision]) == {job_id}
    _write(job_id, run=LONG_AGO, sign=LONG_AGO)


def _is_not_judged_by_heartbeats(job_id: Any) -> None:
    """Check that a heartbeat which stopped takes nothing from a run of which SQS alone tells."""
    from datetime import timedelta

    from django.db import transaction
    from django.db.models.functions import Now

    from jobs.models import WorkerHeartbeat

    with transaction.atomic():
        old = Now() - timedelta(days=2)
        WorkerHeartbeat.objects.create(worker_id="gone", current_job_id=job_id, last_heartbeat=old)
        _is_judged(job_id, stale=False, unknown=True)
        transaction.set_rollback(True)


def _no_signs() -> list[str]:
    """Return what may stand in place of a sign of this run, and is none: no time, and times that cannot be of this run."""
    jobs, beats = mapping.current().jobs, mapping.current().worker_heartbeats
    before, ahead = (
        "(statement_timestamp() - interval '4 days')",
        "(statement_timestamp() + interval '2 days')",
    )
    if jobs.life.told_by == mapping.JOB_COLUMN:
        as_time = jobs.life_time is None or jobs.life_time.kind == mapping.WITHOUT_ZONE
        return [
            "NULL",
            before,
            ahead,
            *(["'infinity'::timestamptz", "'-infinity'::timestamptz"] if as_time else []),
        ]
    if jobs.life.told_by == mapping.WORKER_BEATS:
        as_time = (
            beats.times.get("last_heartbeat", mapping.Time(mapping.WITHOUT_ZONE)).kind == mapping.WITHOUT_ZONE
        )
        return [before, *(["'-infinity'::timestamptz"] if as_time else [])]
    return []


def _tells_of(job_id: Any) -> bool:
    """Tell whether anything tells of this run's life: the workers of some kinds tell nobody."""
    from jobs.models import Job

    return Job.objects.with_evidence().get(pk=job_id).beat_at is not None


def _is_judged(job_id: Any, *, stale: bool, unknown: bool) -> None:
    from django.db import connection

    from jobs.models import Job

    by_queryset = set(Job.objects.stale().values_list("pk", flat=True))
    assert (job_id in by_queryset) is stale
    assert Job.objects.unknown().filter(pk=job_id).exists() is unknown
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT format('%I.find_stale_jobs', nspname) FROM pg_proc JOIN pg_namespace n ON n.oid = pronamespace"
            " WHERE proname = 'find_stale_jobs'"
        )
        [(function,)] = cursor.fetchall()
        cursor.execute(f"SELECT id FROM {function}(statement_timestamp() - interval '10 minutes')")
        by_function = {row[0] for row in cursor.fetchall()}
        assert by_function == by_queryset, (by_function, by_queryset)


LONG_AGO = "(statement_timestamp() - interval '2 days')"


def _write(job_id: Any, *, run: str = "", sign: str = "", worker: bool = True) -> None:
    """Write the times of the run's beginning, and its sign of life, as if the clock had run; no trigger notices."""
    from django.db import connection

    mapped = mapping.current()
    jobs, beats = mapped.jobs, mapped.worker_heartbeats
    run_times = {name: run for name in ("started_at", "updated_at") if run and jobs.has(name)}
    if sign and jobs.life.told_by == mapping.UPDATED_AT:
        run_times["updated_at"] = sign
    changes = [jobs.assignments(**run_times)] if run_times else []
    if sign and jobs.life.column:
        time = jobs.life_time
        value = time.written(sign) if time and sign != "NULL" else sign
        changes.append(f"{mapping.quoted(jobs.life.column)} = {value}")
    if not worker:
        changes += [
            "worker_id = NULL",
            *([f"{mapping.quoted(jobs.life.worker)} = NULL"] if jobs.life.worker else []),
        ]
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        if changes:
            cursor.execute(
                f"UPDATE {jobs.sql} SET {', '.join(changes)} WHERE {jobs.sql_column('id')}::text = %s",
                [str(job_id)],
            )
        if sign and jobs.life.told_by in {mapping.BEATS, mapping.WORKER_BEATS}:
            cursor.execute(f"UPDATE {beats.sql} SET {beats.assignments(last_heartbeat=sign)}")
            cursor.execute("DELETE FROM worker_observations")
        cursor.execute("SET session_replication_role = DEFAULT")


def _recover(job_id: Any) -> None:
    from jobs.models import Job, RecoveryControl, WorkerHeartbeat
    from jobs.recovery import control
    from jobs.recovery.sweeps import sweep
    from jobs.runs.timeline import Actor

    RecoveryControl.objects.update(mode="armed", cutoff=None, beats_looked_at=None)
    if not _tells_of(job_id):
        assert sweep("command").requeued == 0
        control.give_up_unknown_runs(Actor("operator:ada"), "nothing tells", after=None)
    assert Job.objects.stale().filter(pk=job_id).exists()
    assert sweep("command").requeued >= 1
    _is(job_id, "pending", 2)
    _is_cleared(job_id)
    # Theirs frees a worker that is gone, where its row may name one job only.
    WorkerHeartbeat.objects.filter(current_job_id=job_id).update(current_job_id=None)


def _is_cleared(job_id: Any) -> None:
    """Check that nothing of the lost run is left in columns of theirs, which may lock the job for their workers."""
    from django.db import connection

    jobs = mapping.current().jobs
    for column in jobs.cleared_of_theirs:
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {column}::text FROM {jobs.sql} WHERE {jobs.sql_column('id')}::text = %s",
                [str(job_id)],
            )
            assert cursor.fetchone()[0] in {None, "0"}, column


def _worker() -> Any:
    """Return a worker of our protocol; where ids are numbers, it has a row of theirs."""
    from jobs.models import WorkerHeartbeat
    from opsconsole_worker.runs import heartbeats

    ids = list(WorkerHeartbeat.objects.values_list("pk", flat=True).distinct())
    return heartbeats.Worker(max(ids) if ids and all(each.isdigit() for each in ids) else "100")


def _complete(job_id: Any) -> None:
    """Let a worker of the HTTP API claim and complete the job."""
    from jobs.models import WorkerHeartbeat
    from tests.keys import key

    _, secret = key("worker", ["worker"])
    worker = _worker().id

    def post(step: str, **fields: Any) -> Any:
        return _post(secret, step, worker_id=worker, **fields)

    answer = post(f"jobs/{job_id}/claim", run_epoch=2)
    assert answer.status_code == 200, answer.content
    _is(job_id, "in_progress", 2)
    answer = post(f"jobs/{job_id}/beat", run_epoch=2)
    assert answer.json()["verdict"] == "continue", answer.content
    assert WorkerHeartbeat.objects.get(pk=worker, current_job_id=job_id).current_run_epoch == 2
    answer = post(f"jobs/{job_id}/complete", run_epoch=2)
    assert answer.status_code == 200, answer.content
    _is(job_id, "completed", 2)


def _post(secret: str, address: str, **fields: Any) -> Any:
    from django.test import Client

    from tests.keys import sent

    return Client(headers={"host": "localhost"}).post(
        f"/api/{address}",
        json.dumps(fields),
        content_type="application/json",
        headers=sent(secret),
        secure=True,
    )


def _create() -> None:
    """Let a producer of the HTTP API ask for a job: it is accepted whole, or refused by the name of what stands against it."""
    from jobs.models import Job, Outbox
    from tests.keys import key

    _, secret = key("shop", ["jobs:write"])
    before, customer = Job.objects.count(), str(Job.objects.values_list("customer_id", flat=True)[0])
    answer = _post(secret, "jobs", customer_id=customer, package_size=1)
    if answer.status_code == 201:
        job = Job.objects.get(pk=answer.json()["id"])
        assert job.customer_id == (customer if mapping.current().jobs.has("customer_id") else None)
        _is(job.pk, "pending", 1)
        assert Outbox.objects.filter(job_id=job.pk, run_epoch=1).exists()
        return
    # Theirs needs more of a new row than the API can know.
    assert answer.json()["reason"] == "refused_by_database", answer.content
    assert "The database refused it by " in answer.json()["detail"], answer.content
    assert Job.objects.count() == before


def _fail_and_requeue() -> None:
    from jobs.models import Job, Status
    from jobs.operations import job_operations
    from jobs.operations.steps import JobAction
    from jobs.runs.timeline import Actor
    from opsconsole_worker.runs import lifecycle
    from opsconsole_worker.runs.running_job import RunningJob

    worker = _worker()
    waiting = Job.objects.filter(status=Status.PENDING).first()
    assert waiting
    assert isinstance(lifecycle.claim(waiting.pk, None, worker), RunningJob)
    run = lifecycle.Run(waiting.pk, waiting.run_epoch, worker)
    if mapping.current().jobs.written(mapping.FAILED) is None:
        return
    assert lifecycle.fail(run, "no", retryable=False) == lifecycle.Failure.FAILED
    _is(waiting.pk, "failed", waiting.run_epoch)
    steps = job_operations.plan(JobAction.REQUEUE, [waiting.pk])
    [outcome] = job_operations.carry_out(steps, Actor("operator:ada"), "because")
    _is(waiting.pk, "pending", waiting.run_epoch + 1, why=outcome)
    _is_cleared(waiting.pk)


def _look(job_id: Any) -> None:
    """Open the pages, and ask the commands."""
    from django.contrib.auth import get_user_model
    from django.test import Client

    client = Client(headers={"host": "localhost"})
    client.force_login(get_user_model().objects.create_superuser("ada", "", "x"))
    for page in ("", f"{job_id}/change/", f"?q={job_id}", "?status=failed", "?status=pending"):
        assert client.get(f"/admin/jobs/job/{page}", secure=True).status_code == 200, page
    for page in ("", "jobs/workerheartbeat/", "jobs/sweep/"):
        assert client.get(f"/admin/{page}", secure=True).status_code == 200, page
    recovery = client.get("/admin/jobs/recoverycontrol/", secure=True).content.decode()
    assert "A run is taken no earlier than " in recovery
    absent = mapping.current().jobs.absent_columns
    assert ("There is no column started_at: a run counts from " in recovery) is ("started_at" in absent)
    job_page = client.get(f"/admin/jobs/job/{job_id}/change/", secure=True).content.decode()
    assert job_page.count("There is no column ") >= len(absent)
    call_command("recover_stale_jobs", dry_run=True)


def _is(job_id: Any, status: str, epoch: int, why: object = "") -> None:
    """Check the status that the console reads, and the word in their column."""
    from django.db import connection

    from jobs.models import Job

    job = Job.objects.get(pk=job_id)
    assert (job.status, job.run_epoch) == (status, epoch), (job.status, job.run_epoch, why)
    jobs = mapping.current().jobs
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {jobs.sql_column('status')}::text FROM {jobs.sql} WHERE {jobs.sql_column('id')}::text = %s",
            [str(job_id)],
        )
        assert cursor.fetchone() == (jobs.written(status),)


if __name__ == "__main__":
    main(*sys.argv[1:])
