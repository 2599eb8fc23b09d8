"""Tests of a claim whose answer is lost: the worker finds out whether it holds the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import DataError, OperationalError

from jobs.models import Job, JobEvent, Outbox, Status, WorkerHeartbeat
from jobs.runs.restart import restart
from jobs.worker import Consumer, RunContext
from opsconsole_worker import sqs
from opsconsole_worker.environment import QueueConfig
from opsconsole_worker.messages import JobMessage
from opsconsole_worker.reports import reporting
from opsconsole_worker.reports.to_console import ConsoleReports
from opsconsole_worker.runs import heartbeats, lifecycle
from opsconsole_worker.runs.heartbeats import Worker
from opsconsole_worker.runs.lifecycle import Refusal, Refused
from opsconsole_worker.runs.running_job import RunningJob
from opsconsole_worker.working import outages
from tests import factories
from tests.chaos import cuts
from tests.chaos.cuts import ConsoleProxy, CuttingProxy
from tests.fakes.sqs import FakeSqs

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("each_way")]

URL = "https://sqs.fake/000000000000/jobs"


@pytest.fixture
def fake(settings: Any, monkeypatch: pytest.MonkeyPatch) -> FakeSqs:
    account = FakeSqs()
    account.create(URL)
    settings.QUEUES = {"default": QueueConfig("default", URL, None)}
    monkeypatch.setattr(sqs, "client_for", account.client_for)
    monkeypatch.setattr(outages, "FIRST_PAUSE", timedelta(milliseconds=1))
    return account


@pytest.fixture
def ran() -> list[tuple[Any, int]]:
    return []


@pytest.fixture
def consumer(fake: FakeSqs, ran: list[tuple[Any, int]], settings: Any) -> Consumer:
    def handler(context: RunContext) -> None:
        ran.append((context.job.id, context.job.epoch))

    return Consumer(settings.QUEUES["default"], handler, poll_seconds=0)


@pytest.fixture
def proxy() -> Iterator[CuttingProxy]:
    """Yield a proxy to the database server, or to the console; only the consumer's connection uses it."""
    reports = reporting.current()
    made = ConsoleProxy(reports) if isinstance(reports, ConsoleReports) else cuts.to_database()
    with made:
        yield made


def send(job: Job, **fields: Any) -> None:
    sqs.send_raw(URL, JobMessage(job_id=job.pk, **{"run_epoch": job.run_epoch} | fields).to_body())


def story(job: Job) -> list[tuple[str, int | None]]:
    return list(JobEvent.objects.filter(job_id=job.pk).order_by("id").values_list("kind", "run_epoch"))


def poll_with_a_cut(consumer: Consumer, proxy: CuttingProxy, *, answer: bool) -> None:
    """Run one poll of the worker and cut the connection when its claim commits."""
    proxy.cut(proxy.claim, answer=answer)
    with proxy.as_default():
        consumer.poll()
    assert proxy.cuts == 1


@pytest.mark.parametrize("answer", [True, False], ids=["the commit's answer is lost", "the commit is lost"])
def test_run_starts_on_next_turn(
    consumer: Consumer, proxy: CuttingProxy, fake: FakeSqs, ran: list[Any], answer: bool
) -> None:
    job = factories.job()
    send(job)
    poll_with_a_cut(consumer, proxy, answer=answer)
    assert not ran
    assert Job.objects.get(pk=job.pk).status == (Status.IN_PROGRESS if answer else Status.PENDING)

    consumer.poll()

    assert ran == [(job.pk, 1)]
    assert story(job) == [("claimed", 1), ("completed", 1)]
    assert not fake.bodies(URL)
    consumer.poll()
    assert len(ran) == 1


def test_second_worker_with_the_message_leaves_the_run_alone(
    consumer: Consumer, proxy: CuttingProxy, fake: FakeSqs, ran: list[Any]
) -> None:
    now = [0.0]
    fake.clock = lambda: now[0]
    job = factories.job()
    send(job)
    poll_with_a_cut(consumer, proxy, answer=True)
    now[0] = 60.0

    Consumer(consumer.queue, consumer.handler, poll_seconds=0).poll()
    assert not ran
    assert not fake.bodies(URL)

    consumer.poll()
    assert ran == [(job.pk, 1)]
    assert Job.objects.get(pk=job.pk).status == Status.COMPLETED


def test_run_won_by_another_worker_is_not_taken(
    consumer: Consumer, proxy: CuttingProxy, ran: list[Any]
) -> None:
    job = factories.job()
    send(job)
    poll_with_a_cut(consumer, proxy, answer=False)
    assert isinstance(lifecycle.claim(job.pk, 1, Worker("other")), RunningJob)

    consumer.poll()

    assert not ran
    assert Job.objects.get(pk=job.pk).worker_id == "other"


@pytest.mark.parametrize("status", [Status.CANCELLED, Status.PENDING])
def test_superseded_run_is_not_started(
    consumer: Consumer, proxy: CuttingProxy, ran: list[Any], status: Status
) -> None:
    job = factories.job()
    send(job)
    poll_with_a_cut(consumer, proxy, answer=True)
    if status == Status.PENDING:
        restart(Job.objects.filter(pk=job.pk))
    else:
        Job.objects.filter(pk=job.pk).update(status=status)

    consumer.poll()

    assert not ran
    assert Job.objects.get(pk=job.pk).status == status


def test_redriven_dead_letter_is_recognised_too(
    consumer: Consumer, proxy: CuttingProxy, ran: list[Any]
) -> None:
    dead = factories.job(status=Status.FAILED, run_epoch=2, claimed_epoch=2)
    send(dead, dead_letter_id="letter")
    poll_with_a_cut(consumer, proxy, answer=True)

    consumer.poll()

    assert ran == [(dead.pk, 3)]
    assert story(dead) == [("requeued", 3), ("claimed", 3), ("completed", 3)]


def test_stopping_worker_releases_run_at_once(
    consumer: Consumer, proxy: CuttingProxy, ran: list[Any]
) -> None:
    job = factories.job()
    send(job)
    poll_with_a_cut(consumer, proxy, answer=True)
    consumer.stop()
    consumer.run()

    assert not ran
    job.refresh_from_db()
    assert (job.status, job.run_epoch, job.worker_id, job.recovery_count) == (Status.PENDING, 2, None, 0)
    assert [(row.run_epoch, row.reason) for row in Outbox.objects.all()] == [(2, "given_back")]
    [claimed, back] = JobEvent.objects.filter(job_id=job.pk).order_by("id")
    assert (back.kind, back.run_epoch, back.actor) == ("requeued", 2, claimed.actor)
    assert "never began" in back.reason


def test_stopping_worker_leaves_unclaimed_run_alone(
    consumer: Consumer, proxy: CuttingProxy, ran: list[Any]
) -> None:
    job = factories.job()
    send(job)
    poll_with_a_cut(consumer, proxy, answer=False)
    consumer.stop()
    consumer.run()
    assert Job.objects.get(pk=job.pk).run_epoch == 1
    assert not story(job)


def test_started_run_is_never_started_again(
    consumer: Consumer, fake: FakeSqs, ran: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leave a run to recovery if its result could not be recorded and it still looks claimed."""
    job = factories.job()
    for _ in range(2):
        send(job)
    with monkeypatch.context() as patched:
        patched.setattr(lifecycle, "complete", _raising(DataError("their CHECK")))
        consumer.poll()
    assert ran == [(job.pk, 1)]
    monkeypatch.setattr(lifecycle, "claim", _raising(OperationalError("cut"), then=lifecycle.claim))
    for _ in range(3):
        consumer.poll()

    assert ran == [(job.pk, 1)]
    assert Job.objects.get(pk=job.pk).status == Status.IN_PROGRESS
    assert not fake.bodies(URL)


def test_message_is_left_to_visibility_timeout_after_retries(
    consumer: Consumer, fake: FakeSqs, ran: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Give up on a claim that keeps failing, so that the worker can claim other jobs."""
    claim = lifecycle.claim
    tried: Counter[Any] = Counter()
    bad, good = factories.job(), factories.job()

    def fail_for_one(job_id: Any, *args: Any, **options: Any) -> Any:
        tried[job_id] += 1
        if job_id == bad.pk:
            raise OperationalError("canceling statement due to lock timeout")
        return claim(job_id, *args, **options)

    monkeypatch.setattr(lifecycle, "claim", fail_for_one)
    for job in (bad, good):
        send(job)
    for _ in range(6):
        consumer.poll()

    assert ran == [(good.pk, 1)]
    assert tried[bad.pk] == 4
    assert len(fake.bodies(URL)) == 1


def test_repeated_claim_without_lost_answer_is_refused() -> None:
    job, ada = factories.job(), Worker("ada")
    assert isinstance(lifecycle.claim(job.pk, 1, ada), RunningJob)
    assert lifecycle.claim(job.pk, 1, ada) == Refused(Refusal.ALREADY_CLAIMED)
    assert lifecycle.claim(job.pk, 2, ada, asked_before=True) == Refused(Refusal.AHEAD)
    heartbeats.say(ada)

    mine = lifecycle.claim(job.pk, None, ada, asked_before=True)

    assert isinstance(mine, RunningJob)
    assert mine.epoch == 1
    assert story(job) == [("claimed", 1)]
    beat = WorkerHeartbeat.objects.get(worker_id="ada")
    assert (beat.current_job_id, beat.current_run_epoch) == (job.pk, 1)


def _raising(error: Exception, *, then: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """Return a function that raises once, then calls ``then``; without ``then``, it always raises."""
    left = [1]

    def call(*args: Any, **options: Any) -> Any:
        left[0] -= 1
        if then is None or left[0] >= 0:
            raise error
        return then(*args, **options)

    return call
