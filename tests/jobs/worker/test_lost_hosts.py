"""Tests of lost hosts and locked rows: no worker holds a row across the network, and none waits for a stranger (I13)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.db.models import F
from django.db.models.functions import Now

from jobs.messaging import dispatcher
from jobs.models import Job, JobEvent, Outbox, Status, WorkerHeartbeat
from jobs.worker import Consumer, RunContext
from opsconsole.kit import row_locks
from opsconsole.kit.round_trip import RowLocked
from opsconsole_worker import sqs
from opsconsole_worker.environment import QueueConfig
from opsconsole_worker.messages import JobMessage
from opsconsole_worker.runs import heartbeats, lifecycle
from opsconsole_worker.runs.heartbeats import Worker
from opsconsole_worker.runs.lifecycle import Refusal, Run
from opsconsole_worker.runs.running_job import RunningJob
from opsconsole_worker.working import outages
from tests import factories
from tests.chaos.cuts import CuttingProxy
from tests.fakes.sqs import FakeSqs
from tests.other_sessions import other_session
from tests.racing import race
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

URL = "https://sqs.fake/000000000000/jobs"


@pytest.fixture
def fake(settings: Any, monkeypatch: pytest.MonkeyPatch) -> FakeSqs:
    account = FakeSqs()
    account.create(URL)
    settings.QUEUES = {"default": QueueConfig("default", URL, None)}
    settings.OPSCONSOLE_BEAT_INTERVAL_SECONDS = 1
    monkeypatch.setattr(sqs, "client_for", account.client_for)
    monkeypatch.setattr(outages, "FIRST_PAUSE", timedelta(milliseconds=1))
    return account


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_locks, "WAIT", timedelta(milliseconds=100))


@pytest.fixture
def proxy() -> Iterator[CuttingProxy]:
    described = connection.settings_dict
    with CuttingProxy(f"{described['HOST']}/.s.PGSQL.{described['PORT'] or 5432}") as made:
        yield made


def send(job: Job) -> None:
    sqs.send_raw(URL, JobMessage(job_id=job.pk, run_epoch=job.run_epoch).to_body())


def consumer(handler: Any = lambda context: None) -> Consumer:
    return Consumer(QueueConfig("default", URL, None), handler, poll_seconds=0)


def is_free(job: Job) -> bool:
    with transaction.atomic():
        return Job.objects.filter(pk=job.pk).select_for_update(skip_locked=True).exists()


def idle_in_transaction() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND state LIKE 'idle in transaction%'"
        )
        return int(cursor.fetchone()[0])


@contextmanager
def locked_by_a_stranger(job: Job, strength: str = "UPDATE") -> Iterator[None]:
    with other_session() as stranger:
        stranger.execute(f"SELECT FROM jobs WHERE id = %s FOR {strength}".encode(), [job.pk])
        yield


@contextmanager
def one_run_per_customer() -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute("CREATE UNIQUE INDEX one_running ON jobs (customer_id) WHERE status = 'in_progress'")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP INDEX one_running")


def fail(context: RunContext) -> None:
    raise ValueError("it broke")


class TestLostHost:
    @pytest.mark.parametrize(
        ("mark", "handler", "status"),
        [
            (b"'claimed'", lambda context: None, Status.IN_PROGRESS),
            (b"'completed'", lambda context: None, Status.COMPLETED),
            (b"it broke", fail, Status.PENDING),
            (b"'noted'", lambda context: context.note("noted"), Status.IN_PROGRESS),
        ],
        ids=["claim", "complete", "fail", "note"],
    )
    def test_others_go_on_and_the_row_is_free(
        self, fake: FakeSqs, proxy: CuttingProxy, mark: bytes, handler: Any, status: Status
    ) -> None:
        job = factories.job()
        send(job)
        proxy.vanish([mark])

        def lose_host() -> None:
            with proxy.as_default():
                consumer(handler).poll()

        lost = threading.Thread(target=lose_host, daemon=True)
        lost.start()
        wait_until(lambda: proxy.cuts)

        wait_until(lambda: Job.objects.get(pk=job.pk).status == status)
        assert is_free(job)
        assert idle_in_transaction() == 0
        send(job)
        others = [factories.job() for _ in range(6)]
        for other in others:
            send(other)

        def work() -> None:
            worker = consumer()
            for _ in range(3):
                worker.poll()

        race([work] * 3)
        assert {Job.objects.get(pk=other.pk).status for other in others} == {Status.COMPLETED}
        proxy.over.set()
        lost.join(10)
        assert not lost.is_alive()

    def test_events_are_written_with_the_change(self, fake: FakeSqs, proxy: CuttingProxy) -> None:
        """Write the row, its event and its heartbeat in the same request, or none of them."""
        job = factories.job()
        send(job)
        proxy.cut([b"'claimed'"], answer=False)
        with proxy.as_default():
            consumer().poll()
        assert not JobEvent.objects.exists()
        assert Job.objects.get(pk=job.pk).status == Status.PENDING


class TestLockedRow:
    def test_message_is_given_back_and_counted(self, fake: FakeSqs, hasty: None) -> None:
        now = [0.0]
        fake.clock = lambda: now[0]
        locked, other = factories.job(), factories.job()
        for job in (locked, other):
            send(job)
        worker = consumer()
        with locked_by_a_stranger(locked):
            for _ in range(2):
                worker.poll()
            assert Job.objects.get(pk=other.pk).status == Status.COMPLETED
            assert Job.objects.get(pk=locked.pk).status == Status.PENDING
            assert worker.locked_messages == 1
            metadata = WorkerHeartbeat.objects.get(worker_id=worker.worker.id).metadata
            assert metadata["messages_given_back_locked"] == 1
        assert len(fake.bodies(URL)) == 1
        worker.poll()
        assert Job.objects.get(pk=locked.pk).status == Status.PENDING
        now[0] = 31.0
        worker.poll()
        assert Job.objects.get(pk=locked.pk).status == Status.COMPLETED

    def test_long_lock_makes_no_dead_letter(self, fake: FakeSqs, hasty: None) -> None:
        """Have a new message sent, because SQS counts the receives of the old one."""
        now = [0.0]
        fake.clock = lambda: now[0]
        job = factories.job()
        factories.letter(job, state=Outbox.State.SENT, sent_at=Now())
        send(job)
        worker = consumer()
        with locked_by_a_stranger(job):
            for now[0] in (0.0, 31.0):
                worker.poll()
            assert worker.locked_messages == 2
            assert not fake.bodies(URL)
        row = Outbox.objects.get()
        assert (row.state, row.run_epoch) == (Outbox.State.WAITING, 1)
        Outbox.objects.update(available_at=Now())
        assert dispatcher.dispatch().sent == 1
        worker.poll()
        assert Job.objects.get(pk=job.pk).status == Status.COMPLETED

    @pytest.mark.parametrize("handler", [lambda context: None, fail], ids=["complete", "fail"])
    def test_stop_ends_the_wait_for_a_report(
        self, fake: FakeSqs, hasty: None, settings: Any, caplog: pytest.LogCaptureFixture, handler: Any
    ) -> None:
        settings.OPSCONSOLE_STALE_AFTER_SECONDS = 1
        job = factories.job()
        send(job)
        begun, go_on = threading.Event(), threading.Event()

        def work(context: RunContext) -> None:
            begun.set()
            go_on.wait(10)
            handler(context)

        worker = consumer(work)
        thread = threading.Thread(target=_run, args=(worker,))
        thread.start()
        assert begun.wait(10)
        with locked_by_a_stranger(job, "NO KEY UPDATE"):
            go_on.set()
            wait_until(lambda: "keeps the rows locked" in caplog.text)
            worker.stop()
            thread.join(15)
            assert not thread.is_alive()
        assert "The run will be found stale" in caplog.text
        assert Job.objects.get(pk=job.pk).status == Status.IN_PROGRESS
        assert not WorkerHeartbeat.objects.filter(worker_id=worker.worker.id).exists()

    def test_claim_that_a_constraint_refuses_is_put_off(
        self, fake: FakeSqs, caplog: pytest.LogCaptureFixture
    ) -> None:
        now = [0.0]
        fake.clock = lambda: now[0]
        running, waiting = factories.run(silent=timedelta(0)), factories.job()
        send(waiting)
        worker = consumer()
        with one_run_per_customer():
            for now[0] in (0.0, 31.0):
                worker.poll()
        refused = [line.facts["why"] for line in caplog.records if line.message == "claim refused"]  # type: ignore[attr-defined]  # set by opsconsole.kit.activity
        assert "constraint 'one_running'" in refused[0]
        assert "does not answer" not in caplog.text
        assert (worker.refused_messages, worker.locked_messages) == (2, 0)
        metadata = WorkerHeartbeat.objects.get(worker_id=worker.worker.id).metadata
        assert metadata["messages_given_back_refused"] == 2
        assert not fake.bodies(URL), "the outbox sends a new one"
        assert Job.objects.get(pk=waiting.pk).status == Status.PENDING
        told = JobEvent.objects.get(job=waiting)
        assert (told.kind, told.run_epoch) == ("claim_refused", 1), "the second one came at once"
        assert told.details == {"rule": "constraint 'one_running' of table 'jobs'"}
        Job.objects.filter(pk=running.pk).update(status=Status.COMPLETED)
        Outbox.objects.update(available_at=Now())
        assert dispatcher.dispatch().sent == 1
        worker.poll()
        assert Job.objects.get(pk=waiting.pk).status == Status.COMPLETED

    def test_message_that_is_refused_for_a_day_is_left_to_sqs(self, fake: FakeSqs) -> None:
        now = [0.0]
        fake.clock = lambda: now[0]
        factories.run(silent=timedelta(0))
        waiting = factories.job()
        send(waiting)
        JobEvent.objects.create(job=waiting, run_epoch=1, kind="claim_refused", at=Now() - timedelta(days=1))
        worker = consumer()
        with one_run_per_customer():
            for now[0] in (0.0, 901.0, 1802.0):
                worker.poll()
        assert worker.refused_messages == 3
        assert not Outbox.objects.exists(), "nothing sends a new one"
        assert len(fake.bodies(URL)) == 1

    def test_long_lock_makes_no_dead_letter_of_a_fifo_queue(
        self, fake: FakeSqs, hasty: None, settings: Any
    ) -> None:
        """Have the new message sent when the queue does not take it for a copy of the first."""
        now = [0.0]
        fake.clock = lambda: now[0]
        url = fake.create("https://sqs.fake/000000000000/jobs.fifo")
        settings.QUEUES = {"default": QueueConfig("default", url, None)}
        job = factories.job()
        factories.letter(job)
        assert dispatcher.dispatch().sent == 1
        worker = Consumer(settings.QUEUES["default"], lambda context: None, poll_seconds=0)
        with locked_by_a_stranger(job):
            for now[0] in (0.0, 31.0):
                worker.poll()
            assert worker.locked_messages == 2
            assert not fake.bodies(url)
        row = Outbox.objects.annotate(wait=F("available_at") - Now()).get()
        assert row.wait > timedelta(minutes=5)
        Outbox.objects.update(available_at=Now())
        now[0] += row.wait.total_seconds()
        assert dispatcher.dispatch().sent == 1
        worker.poll()
        assert Job.objects.get(pk=job.pk).status == Status.COMPLETED

    def test_run_that_was_taken_meanwhile_is_not_put_off(self) -> None:
        job = factories.run()
        assert not lifecycle.put_off(job.pk, 1, timedelta(0))
        assert not Outbox.objects.exists()

    def test_stop_is_followed_while_the_row_is_locked(self, fake: FakeSqs, hasty: None) -> None:
        job = factories.job()
        send(job)
        worker = consumer()
        with locked_by_a_stranger(job):
            thread = threading.Thread(target=_run, args=(worker,))
            thread.start()
            wait_until(lambda: worker.locked_messages)
            worker.stop()
            thread.join(10)
            assert not thread.is_alive()
        assert Job.objects.get(pk=job.pk).status == Status.PENDING

    @pytest.mark.parametrize("strength", ["KEY SHARE", "UPDATE"])
    def test_child_row_of_a_handler_does_not_block_its_notes(
        self, fake: FakeSqs, hasty: None, strength: str
    ) -> None:
        """Note what the run does while a transaction of the handler's own locks the row, as a foreign key does."""
        job = factories.job()
        send(job)

        def handler(context: RunContext) -> None:
            with locked_by_a_stranger(job, strength):
                context.note("a child row was inserted")

        consumer(handler).poll()
        assert Job.objects.get(pk=job.pk).status == Status.COMPLETED
        assert JobEvent.objects.get(kind=JobEvent.Kind.PROGRESS).details["late"] is False

    def test_foreign_key_blocks_no_report(self, hasty: None) -> None:
        job = factories.job()
        with locked_by_a_stranger(job, "KEY SHARE"):
            assert isinstance(lifecycle.claim(job.pk, 1, Worker("ada")), RunningJob)
            assert lifecycle.complete(Run(job.pk, 1, Worker("ada")))

    def test_result_waits_for_the_row_and_beats_meanwhile(
        self, fake: FakeSqs, hasty: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job = factories.job()
        send(job)
        beaten: list[Any] = []
        beat = heartbeats.beat

        def count(worker: Worker, *run: Any) -> heartbeats.Verdict:
            beaten.append(run)
            return beat(worker, *run)

        held = threading.Event()
        freed = threading.Event()

        def hold() -> None:
            with locked_by_a_stranger(job):
                held.set()
                freed.wait(30)

        stranger = threading.Thread(target=hold)

        def handler(context: RunContext) -> None:
            stranger.start()
            held.wait(10)
            monkeypatch.setattr(heartbeats, "beat", count)

        worker = threading.Thread(target=_poll, args=(consumer(handler),))
        worker.start()
        wait_until(lambda: len(beaten) > 1)
        assert set(beaten) == {(job.pk, 1)}
        freed.set()
        worker.join(20)
        stranger.join(20)
        assert Job.objects.get(pk=job.pk).status == Status.COMPLETED
        assert WorkerHeartbeat.objects.get().current_job_id is None

    def test_refusal_names_the_lock(self, hasty: None) -> None:
        job = factories.job()
        with locked_by_a_stranger(job):
            refused = lifecycle.claim(job.pk, 1, Worker("ada"))
            assert isinstance(refused, lifecycle.Refused)
            assert refused.refusal is Refusal.LOCKED
            assert not refused.refusal.settled
            run = Run(job.pk, 1, Worker("ada"))
            for report in (partial(lifecycle.complete, run), partial(lifecycle.fail, run, "it broke")):
                with pytest.raises(RowLocked):
                    report()
        assert not JobEvent.objects.exists()


def test_session_ends_without_its_client(fake: FakeSqs) -> None:
    consumer().poll()
    with connection.cursor() as cursor:
        cursor.execute("SHOW idle_in_transaction_session_timeout")
        assert cursor.fetchone()[0] == "5min"


def test_limit_of_the_role_stays(fake: FakeSqs) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET idle_in_transaction_session_timeout = '7s'")
    consumer().poll()
    with connection.cursor() as cursor:
        cursor.execute("SHOW idle_in_transaction_session_timeout")
        assert cursor.fetchone()[0] == "7s"


def _run(worker: Consumer) -> None:
    try:
        worker.run()
    finally:
        connections.close_all()


def _poll(worker: Consumer) -> None:
    try:
        worker.poll()
    finally:
        connections.close_all()
