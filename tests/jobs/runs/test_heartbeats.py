"""Tests of heartbeats: what a worker reports, and which answer it gets."""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from functools import partial

import pytest
from django.db import connection
from pytest_django import DjangoAssertNumQueries, DjangoCaptureOnCommitCallbacks

from jobs.inspection import Severity
from jobs.inspection.proof import prove
from jobs.models import Job, Status, WorkerHeartbeat
from jobs.runs.restart import restart
from opsconsole_worker.runs import heartbeats, lifecycle
from opsconsole_worker.runs.heartbeats import Verdict, Worker
from opsconsole_worker.runs.running_job import RunningJob
from tests import factories
from tests.racing import race

pytestmark = pytest.mark.django_db

ADA, KEPT = Worker("ada"), Worker("kept")


def test_first_heartbeat_creates_row_and_later_ones_update_it() -> None:
    heartbeats.say(ADA)
    first = WorkerHeartbeat.objects.get()
    assert (first.worker_id, first.hostname, first.pid) == ("ada", socket.gethostname(), os.getpid())
    assert first.metadata.items() >= heartbeats.PROTOCOL.items()
    assert first.metadata["process"] == f"{socket.gethostname()} {os.getpid()}"
    job = factories.job()
    heartbeats.say(ADA, job.pk, 3)
    second = WorkerHeartbeat.objects.get()
    assert (second.current_job_id, second.current_run_epoch) == (job.pk, 3)
    assert second.started_at == first.started_at


def test_heartbeat_advances_time() -> None:
    factories.beat("ada", ago=timedelta(minutes=5))
    assert not WorkerHeartbeat.objects.beating(timedelta(minutes=4)).exists()
    heartbeats.say(ADA)
    assert WorkerHeartbeat.objects.beating(timedelta(minutes=4)).exists()


def test_usual_heartbeat_leaves_the_row_that_the_whole_statement_leaves(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    job = lifecycle.claim(factories.job(run_epoch=2).pk, 2, ADA)
    assert isinstance(job, RunningJob)
    assert heartbeats.whole_beat(ADA, job.id, 2) is Verdict.GO_ON
    whole = WorkerHeartbeat.objects.get()
    with django_assert_num_queries(1):
        assert heartbeats.beat(ADA, job.id, 2) is Verdict.GO_ON
    usual = WorkerHeartbeat.objects.get()
    assert usual.last_heartbeat >= whole.last_heartbeat
    # These follow the time of the heartbeat.
    times = dict.fromkeys(("noted_at", "longest_silence"))
    assert usual.metadata | times == whole.metadata | times
    assert usual.metadata["noted_at"] >= whole.metadata["noted_at"]
    for name in ("worker_id", "current_job_id", "current_run_epoch", "hostname", "pid", "started_at"):
        assert getattr(usual, name) == getattr(whole, name), name


@pytest.mark.parametrize(
    "other",
    [Worker("ada", start="again"), Worker("ada", hostname="elsewhere"), Worker("ada", pid=1)],
    ids=["process", "host", "pid"],
)
def test_heartbeat_of_another_process_is_noted(other: Worker) -> None:
    job = lifecycle.claim(factories.job(run_epoch=2).pk, 2, ADA)
    assert isinstance(job, RunningJob)
    heartbeats.beat(ADA, job.id, 2)
    heartbeats.beat(other, job.id, 2)
    row = WorkerHeartbeat.objects.get()
    assert (row.hostname, row.pid, row.metadata["process"]) == (other.hostname, other.pid, other.process)


def test_verdicts() -> None:
    job = lifecycle.claim(factories.job(run_epoch=2).pk, 2, ADA)
    assert isinstance(job, RunningJob)
    assert heartbeats.beat(ADA, job.id, 2) is Verdict.GO_ON
    Job.objects.update(status=Status.CANCELLED)
    assert heartbeats.beat(ADA, job.id, 2) is Verdict.CANCELLED
    restart(Job.objects.all())
    assert heartbeats.beat(ADA, job.id, 2) is Verdict.SUPERSEDED
    Job.objects.all().delete()
    assert heartbeats.beat(ADA, job.id, 2) is Verdict.SUPERSEDED


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED, Status.QUARANTINED, "archived"])
def test_run_ended_by_others_is_told_to_stop(status: str) -> None:
    job = factories.run(epoch=2)
    Job.objects.update(status=status)
    assert heartbeats.verdict(job.pk, 2, ADA) is Verdict.SUPERSEDED


def test_beats_of_a_superseded_run_do_not_keep_the_new_one_alive() -> None:
    second = factories.run(age=timedelta(hours=1), epoch=2, worker="bob", silent=timedelta(hours=1))
    heartbeats.beat(ADA, second.pk, 1)
    assert list(Job.objects.stale()) == [second]
    heartbeats.beat(Worker("bob"), second.pk, 2)
    assert not Job.objects.stale().exists()


def test_leaving_deletes_only_own_row() -> None:
    heartbeats.say(ADA)
    heartbeats.say(Worker("bob"))
    heartbeats.leave(ADA)
    assert WorkerHeartbeat.objects.get().worker_id == "bob"


@pytest.mark.django_db(transaction=True)
def test_concurrent_first_heartbeats_create_one_row() -> None:
    race([partial(heartbeats.say, ADA)] * 6)
    assert WorkerHeartbeat.objects.count() == 1


def test_heartbeats_that_a_trigger_keeps_from_the_table_are_told_once(
    caplog: pytest.LogCaptureFixture, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    job = lifecycle.claim(factories.job().pk, 1, KEPT)
    assert isinstance(job, RunningJob)
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION keep_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;"
            "CREATE TRIGGER keep_it BEFORE INSERT OR UPDATE ON worker_heartbeats FOR EACH ROW EXECUTE FUNCTION keep_it()"
        )
    with django_capture_on_commit_callbacks(execute=True):
        for _ in range(3):
            assert heartbeats.beat(KEPT, job.id, 1) is Verdict.GO_ON
        heartbeats.say(KEPT)
    told = [each.getMessage() for each in caplog.records if "heartbeats" in each.getMessage()]
    assert len(told) == 1 and "heartbeats not stored" in told[0]
    [finding] = [each for each in prove() if each.id == "refused-heartbeat"]
    assert (finding.severity, finding.subject) == (Severity.BLOCKER, "worker_heartbeats")
    assert "no row was changed, as by a trigger that returns NULL" in finding.found

    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER keep_it ON worker_heartbeats")
    with django_capture_on_commit_callbacks(execute=True):
        heartbeats.whole_beat(KEPT, job.id, 1)
    assert "heartbeats stored again" in caplog.records[-1].getMessage()
    assert "refused-heartbeat" not in {each.id for each in prove()}
