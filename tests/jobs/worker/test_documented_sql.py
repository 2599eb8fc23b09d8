"""Tests of the SQL in docs/workers.md: it changes the database in the same way as the Python library."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from jobs.intake.enqueue import NewJob, enqueue
from jobs.models import Job, JobEvent, Outbox, RunProgress, Status, WorkerHeartbeat
from jobs.runs.restart import restart
from jobs.runs.timeline import Actor
from opsconsole_worker.environment import QueueConfig
from opsconsole_worker.runs import heartbeats, lifecycle, progress
from opsconsole_worker.runs.heartbeats import Worker
from opsconsole_worker.runs.lifecycle import Failure, Refused, Run
from opsconsole_worker.runs.running_job import RunningJob
from tests import factories

pytestmark = pytest.mark.django_db

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "workers.md").read_text(encoding="utf-8")
STATEMENTS = dict(re.findall(r"```sql\n-- ([a-z ]+)\n(.*?)```", PAGE, re.DOTALL))
ADA = Worker("ada")
MOMENTS = {
    "id",
    "created_at",
    "updated_at",
    "started_at",
    "completed_at",
    "not_before",
    "available_at",
    "dead_letter_id",
}


def say(name: str, job: Job, epoch: int | None = 1, **parameters: Any) -> list[dict[str, Any]]:
    """Run one of the page's statements as a worker without the library does."""
    statement = re.sub(r":([a-z_]+)", r"%(\1)s", STATEMENTS[name])
    with connection.cursor() as cursor:
        given: dict[str, Any] = {"worker": "ada", "process": "ada 1", "job_id": job.pk, "epoch": epoch}
        cursor.execute(statement, given | parameters)
        names = [column.name for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in (cursor.fetchall() if names else [])]


def picture(job: Job) -> list[Any]:
    """Return all that the database stores about a job; for a timestamp, only whether it is set.

    Leave out the ``dead_letter_id`` of messages to a queue: only messages to a dead letter queue need it. Leave out the
    key that claimed: workers with SQL have none, and where none is kept, the worker's id decides alone.
    """
    rows: list[Mapping[str, Any]] = [
        *Job.objects.filter(pk=job.pk).values(),
        *Outbox.objects.filter(job_id=job.pk).values(),
    ]
    events = JobEvent.objects.filter(job_id=job.pk).values_list("kind", "run_epoch", "actor", "reason")
    plain = [
        {
            name: value is not None if name in MOMENTS else value
            for name, value in row.items()
            if name not in ({"dead_letter_id"} if row.get("destination") == "queue" else set())
            and name not in {"job_id", "claimed_by_key"}
        }
        for row in rows
    ]
    return [*plain, *events]


def both(**fields: Any) -> tuple[Job, Job]:
    """Create two equal jobs: one for the page's statements and one for the library."""
    return factories.job(**fields), factories.job(**fields)


def claim_both(theirs: Job, ours: Job) -> Run:
    assert say("claim", theirs)
    assert isinstance(lifecycle.claim(ours.pk, 1, ADA), RunningJob)
    return Run(ours.pk, 1, ADA)


def test_enqueue(settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "https://sqs.fake/1/jobs", None)}
    [made] = say(
        "enqueue",
        Job(),
        customer_id="TEST-001",
        package_size=50,
        priority="gold",
        payload='{"site": "example.org"}',
        queue="default",
        not_before=None,
        producer="producer:shop",
    )
    new = NewJob(customer_id="TEST-001", package_size=50, priority="gold", payload={"site": "example.org"})
    ours = enqueue(new, actor=Actor("producer:shop"))
    assert picture(Job(id=made["id"])) == picture(ours)


@pytest.mark.parametrize("epoch", [1, None])
def test_claim(epoch: int | None) -> None:
    theirs, ours = both(payload={"site": "example.org"})
    [run] = say("claim", theirs, epoch)
    lifecycle.claim(ours.pk, epoch, ADA)
    assert (run["id"], run["run_epoch"], run["customer_id"]) == (theirs.pk, 1, "TEST-001")
    assert picture(theirs) == picture(ours)
    assert not say("claim", theirs, epoch)


@pytest.mark.parametrize("epoch", [1, 2, None])
@pytest.mark.parametrize("worker", ["ada", "bob"])
def test_mine(epoch: int | None, worker: str) -> None:
    job = factories.job()
    assert not say("mine", job, epoch)
    [won] = say("claim", job, 1, worker=worker)
    ours = lifecycle.claim(job.pk, epoch, ADA, asked_before=True)
    assert say("mine", job, epoch) == ([won] if isinstance(ours, RunningJob) else [])
    assert isinstance(ours, RunningJob) == (worker == "ada" and epoch != 2)


@pytest.mark.parametrize("epoch", [1, 2, 3, None])
@pytest.mark.parametrize(
    "fields",
    [
        {"status": str(status), "claimed_epoch": claimed}
        for status in [*Status, "archived"]
        for claimed in (None, 1, 2)
        if status != Status.PENDING
    ],
    ids=str,
)
def test_refused(fields: dict[str, Any], epoch: int | None) -> None:
    job = factories.job(run_epoch=2, **fields)
    answer = lifecycle.claim(job.pk, epoch, ADA)
    assert isinstance(answer, Refused)
    assert not say("claim", job, epoch)
    assert say("refused", job, epoch) == [{"settled": answer.refusal.settled}]


def test_too_early_is_not_settled() -> None:
    job = factories.job(not_before="2999-01-01T00:00:00Z")
    assert not say("claim", job)
    assert say("refused", job) == [{"settled": False}]


def test_beats_count() -> None:
    job = factories.run(worker="ada")
    say("beat", job)
    said = WorkerHeartbeat.objects.get()
    assert (said.current_job_id, said.current_run_epoch) == (job.pk, 1)
    assert list(WorkerHeartbeat.objects.of_run(job.pk, 1, 1)) == [said]
    assert not WorkerHeartbeat.objects.without_epochs().exists()
    assert said.started_at and job.started_at and said.started_at <= job.started_at
    say("beat", job, epoch=None, job_id=None)
    assert WorkerHeartbeat.objects.get().current_job_id is None
    say("leave", job)
    assert not WorkerHeartbeat.objects.exists()


@pytest.mark.parametrize("status", [Status.IN_PROGRESS, Status.CANCELLED])
@pytest.mark.parametrize("epoch", [1, 2])
@pytest.mark.parametrize("worker", [None, "", "ada", "bob"])
def test_verdict(status: Status, epoch: int, worker: str | None) -> None:
    job = factories.job(status=status, run_epoch=2, worker_id=worker)
    theirs = say("verdict", job, epoch) == [{"status": "in_progress"}]
    assert theirs == (heartbeats.verdict(job.pk, epoch, ADA) is heartbeats.Verdict.GO_ON)


def test_note() -> None:
    theirs, ours = both()
    run = claim_both(theirs, ours)
    say("note", theirs, note="12 of 50", reference="batch-9")
    lifecycle.note(run, "12 of 50", reference="batch-9")
    first, second = JobEvent.objects.filter(kind=JobEvent.Kind.PROGRESS)
    assert first.details == second.details
    assert picture(theirs) == picture(ours)


@pytest.mark.parametrize("late", [False, True])
def test_progress(late: bool) -> None:
    theirs, ours = both()
    run = claim_both(theirs, ours)
    assert say("last progress", theirs) == []
    if late:
        restart(Job.objects.all())
    for percent, text in [(10, "begun"), (40.5, "12 of 30")]:
        [verdict] = say("progress", theirs, percent=percent, text=text)
        assert (verdict["status"] == "in_progress") is not late
        assert (progress.report(ADA, run.job_id, 1, percent, text) is heartbeats.Verdict.GO_ON) is not late
    rows = [
        RunProgress.objects.filter(job_id=job.pk).values_list("run_epoch", "percent", "text")
        for job in (theirs, ours)
    ]
    assert [list(each) for each in rows] == [[] if late else [(1, Decimal("40.5"), "12 of 30")]] * 2
    last = progress.last(theirs.pk, 2)
    if last:
        wanted = {"percent": 40.5, "text": "12 of 30", "run_epoch": 1, "at": last.at}
        assert say("last progress", theirs, 2) == [wanted]


@pytest.mark.parametrize("late", [False, True])
def test_complete(late: bool) -> None:
    theirs, ours = both()
    run = claim_both(theirs, ours)
    if late:
        restart(Job.objects.all())
    assert say("complete", theirs, details=json.dumps({"submitted": 50})) == [{"counted": not late}]
    assert lifecycle.complete(run, {"submitted": 50}) is not late
    assert picture(theirs) == picture(ours)


@pytest.mark.parametrize(("attempts", "counted"), [(0, True), (1, True), (2, False)])
def test_fail_and_retry(attempts: int, counted: bool) -> None:
    theirs, ours = both(attempts=attempts)
    run = claim_both(theirs, ours)
    words: dict[str, Any] = {"error": "it broke", "delay_seconds": 30, "max_attempts": 3}
    assert say("fail and retry", theirs, **words) == [{"counted": counted}]
    if counted:
        assert lifecycle.fail(run, "it broke") is Failure.RETRY
        assert picture(theirs) == picture(ours)


@pytest.mark.parametrize("late", [False, True])
def test_permanent_failure_is_not_retried(late: bool) -> None:
    theirs, ours = both()
    run = claim_both(theirs, ours)
    if late:
        restart(Job.objects.all())
    assert say("fail for good", theirs, error="it broke") == [{"counted": not late}]
    assert (lifecycle.fail(run, "it broke", retryable=False) is Failure.FAILED) is not late
    assert picture(theirs) == picture(ours)


def test_report_whose_answer_was_lost_is_repeated() -> None:
    words: dict[str, Any] = {"error": "it broke", "delay_seconds": 30, "max_attempts": 3, "details": "{}"}
    repeats: dict[str, Callable[[Run], object]] = {
        "complete": partial(lifecycle.complete, details={}),
        "fail and retry": partial(lifecycle.fail, error="it broke"),
        "fail for good": partial(lifecycle.fail, error="it broke", retryable=False),
    }
    for name, report in repeats.items():
        theirs, ours = both()
        run = claim_both(theirs, ours)
        for _ in range(2):
            assert say(name, theirs, **words) == [{"counted": True}]
            report(run)
        assert picture(theirs) == picture(ours)
        assert not JobEvent.objects.filter(kind=JobEvent.Kind.LATE_RESULT_REJECTED).exists()


@pytest.mark.parametrize("hours", [-1, 2, None])
def test_retry_gets_a_deadline_of_its_own(hours: int | None) -> None:
    """Give the next run as much time as this one had, and drop a deadline that had passed when it began."""
    deadline = None if hours is None else timezone.now() + timedelta(hours=hours)
    theirs, ours = both(deadline_at=deadline)
    run = claim_both(theirs, ours)
    say("fail and retry", theirs, error="it broke", delay_seconds=30, max_attempts=3)
    lifecycle.fail(run, "it broke")
    their_deadline, our_deadline = (Job.objects.get(pk=job.pk).deadline_at for job in (theirs, ours))
    assert (their_deadline is None) == (our_deadline is None) == (hours != 2)
    if their_deadline and our_deadline:
        assert abs(their_deadline - our_deadline) < timedelta(seconds=10)


@pytest.mark.parametrize("holder", ["ada", "bob", None, ""])
def test_reports_compare_the_worker(holder: str | None) -> None:
    """Refuse the report of a worker that holds the epoch, but not the run, as after a restore."""
    counts = holder != "bob"
    words: dict[str, Any] = {"error": "it broke", "delay_seconds": 30, "max_attempts": 3, "details": "{}"}
    for name in ("complete", "fail and retry", "fail for good"):
        job = factories.run(worker="ada")
        Job.objects.filter(pk=job.pk).update(worker_id=holder)
        say("note", job, note="12 of 50", reference="")
        assert say(name, job, **words) == [{"counted": counts}]
        note = JobEvent.objects.get(job_id=job.pk, kind=JobEvent.Kind.PROGRESS)
        assert note.details["late"] is not counts


def test_limits() -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE ROLE your_worker")
        cursor.execute(STATEMENTS["limits"])
        cursor.execute("SELECT setconfig FROM pg_db_role_setting WHERE setrole = 'your_worker'::regrole")
        assert "lock_timeout=3s" in cursor.fetchone()[0]


def test_documented_privileges_suffice() -> None:
    job = factories.job()
    words: dict[str, Any] = {
        "error": "it broke",
        "delay_seconds": 0,
        "max_attempts": 3,
        "note": "",
        "reference": "",
        "details": "{}",
        "percent": 40,
        "text": "",
    }
    with connection.cursor() as cursor:
        # The rollback of the test's transaction drops this role.
        cursor.execute("CREATE ROLE your_worker")
        cursor.execute(STATEMENTS["rights"])
        cursor.execute("SET LOCAL ROLE your_worker")
    for name in [
        "claim",
        "refused",
        "beat",
        "verdict",
        "note",
        "progress",
        "last progress",
        "complete",
        "fail and retry",
        "fail for good",
        "leave",
    ]:
        say(name, job, **words)
    with connection.cursor() as cursor:
        cursor.execute("RESET ROLE")
    assert Job.objects.get().status == Status.COMPLETED


def test_every_documented_statement_is_tested() -> None:
    tried = set(re.findall(r'say\(\s*"([a-z ]+)"', Path(__file__).read_text(encoding="utf-8")))
    assert set(STATEMENTS) == tried | {"rights", "limits"}
