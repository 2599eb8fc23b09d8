"""Tests of the worker's loop with the emulator: what happens to each message (DESIGN section 3)."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from django.db import OperationalError
from django.db.models.functions import Now

from jobs.models import Job, JobEvent, Status, WorkerHeartbeat
from jobs.worker import Consumer, RunContext
from opsconsole_worker import sqs
from opsconsole_worker.environment import QueueConfig
from opsconsole_worker.messages import JobMessage
from opsconsole_worker.reports import reporting
from opsconsole_worker.runs import heartbeats, lifecycle
from opsconsole_worker.sqs import Attribute, MessageRefused, QueueMisconfigured, QueueUnavailable
from opsconsole_worker.working import outages
from opsconsole_worker.working.consumer import release_delay
from opsconsole_worker.working.poison import COPY_OF_ATTRIBUTE, POISON_ATTRIBUTE
from tests import factories, worker_databases
from tests.conftest import TestQueue
from tests.fakes.sqs import FakeSqs, throttled, unreachable
from tests.racing import race
from tests.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("each_way")]

HOUR = timedelta(hours=1)
TRACE = "Root=1-67a95f20-0a1b2c3d4e5f60718293a4b5;Sampled=1"


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(outages, "FIRST_PAUSE", timedelta(milliseconds=1))
    caplog.set_level(logging.INFO, "opsconsole.worker")


@pytest.fixture
def ran() -> list[RunContext]:
    """Return the list of runs for which the consumer has called its handler."""
    return []


@pytest.fixture
def consumer(sqs_queue: TestQueue, ran: list[RunContext], settings: Any) -> Consumer:
    return Consumer(settings.QUEUES["default"], ran.append, poll_seconds=0)


@pytest.fixture
def two_queues(consumer: Consumer, monkeypatch: pytest.MonkeyPatch) -> FakeSqs:
    """Give the consumer two queues on a fake account that counts bytes as SQS does."""
    fake = FakeSqs()
    dlq_url = fake.create("https://sqs.fake/000000000000/dead")
    url = fake.create("https://sqs.fake/000000000000/jobs", dlq_url=dlq_url)
    consumer.queue = replace(consumer.queue, url=url, dlq_url=dlq_url)
    monkeypatch.setattr(sqs, "client_for", fake.client_for)
    return fake


@pytest.fixture
def send(sqs_queue: TestQueue) -> Callable[..., None]:
    """Return a function that sends any body, or a job's message as the console or an older producer does."""

    def send(job: Job | str, **fields: Any) -> None:
        body = job if isinstance(job, str) else JobMessage(job_id=job.pk, **fields).to_body()
        sqs_queue.client.send_message(QueueUrl=sqs_queue.url, MessageBody=body)

    return send


@pytest.fixture
def released(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the list of delays, in seconds, with which messages are released."""
    delays: list[int] = []
    real = sqs.release

    def release(received: sqs.Received, delay_seconds: int = 0) -> bool:
        delays.append(delay_seconds)
        return real(received, delay_seconds)

    monkeypatch.setattr(sqs, "release", release)
    return delays


def failing(error: Exception, *, times: int = 1, then: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that fails this many times before it succeeds."""
    left = [times]

    def call(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if left[0] >= 0:
            raise error
        return then(*args, **kwargs)

    return call


def counts(queue: TestQueue, url: str | None = None) -> tuple[int, int]:
    """Return the number of visible messages and the number in flight; a released message is in flight."""
    depth = sqs.depth(url or queue.url)
    return depth.visible, depth.in_flight


class TestTaking:
    def test_message_is_deleted_before_the_work_begins(
        self, sqs_queue: TestQueue, send: Callable[..., None], settings: Any
    ) -> None:
        seen: list[tuple[str, tuple[int, int]]] = []

        def handler(context: RunContext) -> dict[str, int]:
            seen.append((Job.objects.get(pk=context.job.id).status, counts(sqs_queue)))
            return {"submitted": 50}

        job = factories.job()
        send(job, run_epoch=1)
        Consumer(settings.QUEUES["default"], handler, poll_seconds=0).poll()
        assert seen == [(Status.IN_PROGRESS, (0, 0))]
        assert Job.objects.get(pk=job.pk).status == Status.COMPLETED

    def test_message_without_an_epoch(
        self, consumer: Consumer, send: Callable[..., None], ran: list[RunContext]
    ) -> None:
        job = factories.job(run_epoch=5)
        send(json.dumps({"job_id": str(job.pk), "customer_id": 7, "their_field": [1]}))
        consumer.poll()
        assert [context.job.epoch for context in ran] == [5]

    def test_second_copy_is_deleted_and_not_run(
        self, consumer: Consumer, send: Callable[..., None], ran: list[RunContext], sqs_queue: TestQueue
    ) -> None:
        job = factories.job()
        for _ in range(2):
            send(job, run_epoch=1)
        for _ in range(2):
            consumer.poll()
        assert len(ran) == 1
        assert counts(sqs_queue) == (0, 0)

    @pytest.mark.parametrize(
        ("fields", "run_epoch"),
        [
            ({"run_epoch": 2}, 1),
            ({"status": Status.COMPLETED}, 1),
            ({"status": Status.CANCELLED}, None),
            ({"status": Status.IN_PROGRESS, "claimed_epoch": 1}, 1),
        ],
    )
    def test_settled_message_is_deleted(
        self,
        consumer: Consumer,
        send: Callable[..., None],
        ran: list[RunContext],
        sqs_queue: TestQueue,
        fields: dict[str, Any],
        run_epoch: int | None,
    ) -> None:
        send(factories.job(**fields), run_epoch=run_epoch)
        consumer.poll()
        assert not ran
        assert counts(sqs_queue) == (0, 0)

    def test_redriven_dead_letter_starts_its_job_once(
        self, consumer: Consumer, send: Callable[..., None], ran: list[RunContext], sqs_queue: TestQueue
    ) -> None:
        dead = factories.job(status=Status.FAILED, run_epoch=2, claimed_epoch=2)
        for _ in range(2):
            send(dead, run_epoch=2, dead_letter_id="letter")
        for _ in range(2):
            consumer.poll()
        assert [context.job.epoch for context in ran] == [3]
        assert counts(sqs_queue) == (0, 0)

    def test_run_goes_on_when_its_message_cannot_be_deleted(
        self,
        consumer: Consumer,
        send: Callable[..., None],
        ran: list[RunContext],
        sqs_queue: TestQueue,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(sqs, "delete", failing(QueueUnavailable("away"), then=sqs.delete))
        job = factories.job()
        send(job, run_epoch=1)
        consumer.poll()
        assert len(ran) == 1
        assert Job.objects.get(pk=job.pk).status == Status.COMPLETED
        send(job, run_epoch=1)
        consumer.poll()
        assert len(ran) == 1
        assert counts(sqs_queue)[0] == 0


class TestLeavingToOthers:
    @pytest.mark.parametrize(
        "fields",
        [None, {"status": Status.IN_PROGRESS}, {"status": "archived"}, {"status": Status.FAILED}],
        ids=["unknown job", "run by a worker of the old kind", "unknown status", "failed, never claimed"],
    )
    def test_released_for_later(
        self,
        consumer: Consumer,
        send: Callable[..., None],
        ran: list[RunContext],
        sqs_queue: TestQueue,
        released: list[int],
        fields: dict[str, Any] | None,
    ) -> None:
        job = factories.job(**(fields or {}))
        if fields is None:
            Job.objects.all().delete()
        send(job)
        consumer.poll()
        assert not ran
        assert released == [10]
        assert counts(sqs_queue) == (0, 1)

    @pytest.mark.parametrize(
        ("receive_count", "seconds"), [(0, 10), (1, 10), (2, 20), (3, 40), (7, 640), (8, 900), (100_000, 900)]
    )
    def test_later_each_time(self, receive_count: int, seconds: int) -> None:
        assert release_delay(receive_count) == timedelta(seconds=seconds)

    # The delay may exceed the maximum of SQS, because opsconsole_worker.sqs.release enforces that maximum.
    @pytest.mark.parametrize(("wait", "bounds"), [(HOUR, (3_500, 3_600)), (30 * HOUR, (107_900, 108_000))])
    def test_message_received_too_early_returns_in_time(
        self,
        consumer: Consumer,
        send: Callable[..., None],
        ran: list[RunContext],
        released: list[int],
        wait: timedelta,
        bounds: tuple[int, int],
    ) -> None:
        send(factories.job(not_before=Now() + wait), run_epoch=1)
        consumer.poll()
        assert not ran
        assert bounds[0] <= released[0] <= bounds[1]

    def test_messages_received_after_a_stop_signal_are_released_at_once(
        self,
        consumer: Consumer,
        send: Callable[..., None],
        ran: list[RunContext],
        sqs_queue: TestQueue,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        real = sqs.receive

        def receive(*args: Any, **kwargs: Any) -> list[sqs.Received]:
            consumer.stop()
            return real(*args, **kwargs)

        monkeypatch.setattr(sqs, "receive", receive)
        job = factories.job()
        send(job, run_epoch=1)
        consumer.run()
        assert not ran
        assert counts(sqs_queue) == (1, 0)
        assert Job.objects.get(pk=job.pk).status == Status.PENDING


class TestPoison:
    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            ("{nonsense", "The body is not JSON"),
            ("[]", "The body must be a JSON object"),
            ('{"customer_id": "TEST-001"}', "job_id is missing."),
            ('{"job_id": "7"}', "job_id must be a UUID"),
            (json.dumps({"job_id": str(uuid4()), "run_epoch": 0}), "run_epoch must be"),
            ('{"text": "' + "é" * 200_000 + '"}', "at most 262144 are accepted."),
        ],
        ids=["not JSON", "no object", "no job", "no uuid", "foreign epoch", "too large"],
    )
    def test_malformed_message_is_buried_unchanged_with_a_reason(
        self,
        consumer: Consumer,
        send: Callable[..., None],
        sqs_queue: TestQueue,
        settings: Any,
        body: str,
        reason: str,
    ) -> None:
        settings.OPSCONSOLE_BODY_LIMIT_BYTES = 262_144
        send(body)
        consumer.poll()
        assert counts(sqs_queue) == (0, 0)
        [letter] = sqs.receive(sqs_queue.dlq_url, wait_seconds=0)
        assert letter.body == body
        assert reason in str(letter.attributes[POISON_ATTRIBUTE].value)

    def test_log_does_not_quote_a_malformed_message_while_redaction_paths_are_set(
        self,
        consumer: Consumer,
        send: Callable[..., None],
        settings: Any,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        settings.OPSCONSOLE_REDACT_PATHS = ["$.customer_id"]
        send(json.dumps({"job_id": str(uuid4()), "customer_id": {"email": "ada@example.com"}}))
        consumer.poll()
        assert "customer_id must be text" in caplog.text
        assert "ada@example.com" not in caplog.text

    @pytest.mark.parametrize(("theirs", "kept"), [(3, 5), (8, 10), (9, 10), (10, 10)])
    def test_their_attributes_are_kept_and_the_reason_gives_way(
        self, consumer: Consumer, sqs_queue: TestQueue, theirs: int, kept: int
    ) -> None:
        attributes = {f"a{number}": Attribute("x") for number in range(theirs)}
        sqs.send_raw(sqs_queue.url, "{nonsense", attributes)
        consumer.poll()
        [letter] = sqs.receive(sqs_queue.dlq_url, wait_seconds=0)
        assert len(letter.attributes) == kept
        assert attributes.items() <= letter.attributes.items()
        assert (POISON_ATTRIBUTE in letter.attributes) == (theirs < 10)
        assert (COPY_OF_ATTRIBUTE in letter.attributes) == (theirs < 9)

    def test_trace_header_of_a_malformed_message_is_kept(
        self, consumer: Consumer, sqs_queue: TestQueue
    ) -> None:
        sqs.send_raw(sqs_queue.url, "{nonsense", trace_header=TRACE)
        consumer.poll()
        [letter] = sqs.receive(sqs_queue.dlq_url, wait_seconds=0)
        assert letter.trace_header == TRACE

    @pytest.mark.parametrize(
        ("room", "theirs", "kept"),
        [(10_000, 3, 100), (105, 2, 26), (56, 2, 0), (60, 0, 37), (24, 0, 1), (23, 0, 0), (0, 0, 0)],
        ids=["all", "beside theirs", "only theirs", "the reason's beginning", "a letter", "no room", "full"],
    )
    def test_reason_is_cut_to_fit_a_body_close_to_the_limit(
        self,
        two_queues: FakeSqs,
        consumer: Consumer,
        caplog: pytest.LogCaptureFixture,
        settings: Any,
        room: int,
        theirs: int,
        kept: int,
    ) -> None:
        """Truncate the reason, because SQS limits the total size of the body and the attributes."""
        settings.OPSCONSOLE_BODY_LIMIT_BYTES = 262_144
        body = "{" + "x" * (sqs.BATCH_BYTES - room - 1)
        sqs.send_raw(consumer.queue.url, body, {f"a{n}": Attribute("x" * 20) for n in range(theirs)})
        consumer.poll()

        assert not two_queues.bodies(consumer.queue.url)
        [letter] = sqs.receive(consumer.queue.dlq_url or "", wait_seconds=0)
        assert letter.body == body
        reason = f"The body is {len(body)} bytes; at most 262144 are accepted."
        expected = {POISON_ATTRIBUTE: reason[:kept]} if kept else {}
        expected |= {f"a{n}": "x" * 20 for n in range(theirs)}
        kept_attributes = {name: attribute.value for name, attribute in letter.attributes.items()}
        assert (kept_attributes.pop(COPY_OF_ATTRIBUTE, None) is not None) == (room == 10_000)
        assert kept_attributes == expected
        assert f"now a dead letter: {reason}" in caplog.text

    def test_stays_where_there_is_no_dead_letter_queue(
        self,
        consumer: Consumer,
        send: Callable[..., None],
        sqs_queue: TestQueue,
        released: list[int],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        consumer.queue = replace(consumer.queue, dlq_url=None)
        send("{nonsense")
        consumer.poll()
        assert released == [10]
        assert counts(sqs_queue) == (0, 1)
        assert "the queue 'default' has no dead letter queue" in caplog.text

    @pytest.mark.parametrize("error", [QueueUnavailable, QueueMisconfigured, MessageRefused])
    def test_malformed_message_stays_while_the_dead_letter_queue_refuses_it(
        self,
        consumer: Consumer,
        send: Callable[..., None],
        sqs_queue: TestQueue,
        released: list[int],
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        error: type[sqs.QueueError],
    ) -> None:
        monkeypatch.setattr(sqs, "send_raw", failing(error("No."), then=sqs.send_raw))
        send("{nonsense")
        consumer.poll()
        assert released == [10]
        assert counts(sqs_queue) == (0, 1)
        assert "It stays: No." in caplog.text


class TestOutages:
    @pytest.mark.parametrize("error", [QueueUnavailable, QueueMisconfigured])
    def test_queue_outage(
        self,
        consumer: Consumer,
        send: Callable[..., None],
        ran: list[RunContext],
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        error: type[sqs.QueueError],
    ) -> None:
        monkeypatch.setattr(sqs, "receive", failing(error("away"), times=5, then=sqs.receive))
        send(factories.job(), run_epoch=1)
        for _ in range(6):
            consumer.poll()
        assert len(ran) == 1
        said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert said == [
            "The queue 'default' does not answer, trying again: away",
            "The queue 'default' answers again (failed tries: 5)",
        ]

    def test_nothing_is_received_while_the_database_is_unavailable(
        self,
        consumer: Consumer,
        send: Callable[..., None],
        ran: list[RunContext],
        sqs_queue: TestQueue,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        away = failing(OperationalError("the connection is closed"), times=5, then=heartbeats.say)
        monkeypatch.setattr(heartbeats, "say", away)
        send(factories.job(), run_epoch=1)
        for _ in range(5):
            consumer.poll()
            assert counts(sqs_queue) == (1, 0)
        consumer.poll()
        assert len(ran) == 1
        said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert [line for line in said if line.startswith("The ")] == [
            *worker_databases.outage("the connection is closed", tries=5)
        ]

    def test_failed_claim_is_retried_in_the_next_round(
        self,
        consumer: Consumer,
        send: Callable[..., None],
        ran: list[RunContext],
        sqs_queue: TestQueue,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(lifecycle, "claim", failing(OperationalError("closed"), then=lifecycle.claim))
        job = factories.job()
        send(job, run_epoch=1)
        consumer.poll()
        assert not ran
        assert counts(sqs_queue) == (0, 1)
        assert Job.objects.get(pk=job.pk).status == Status.PENDING
        consumer.poll()
        assert len(ran) == 1
        assert counts(sqs_queue) == (0, 0)

    def test_worker_stops_while_the_database_is_unavailable(
        self, consumer: Consumer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        away = failing(OperationalError("closed"), then=heartbeats.leave)
        monkeypatch.setattr(heartbeats, "leave", away)
        consumer.stop()
        consumer.run()
        assert "could not remove its row" in caplog.text


class TestPresence:
    def test_idle_worker_beats(self, consumer: Consumer) -> None:
        consumer.poll()
        said = WorkerHeartbeat.objects.get()
        assert (said.worker_id, said.current_job_id) == (consumer.worker.id, None)
        factories.beat(consumer.worker.id, ago=HOUR)
        consumer.poll()
        assert WorkerHeartbeat.objects.alive().exists()

    def test_worker_polls_at_least_once_per_beat_interval(self, settings: Any, sqs_queue: TestQueue) -> None:
        settings.OPSCONSOLE_BEAT_INTERVAL_SECONDS = 2
        assert Consumer(settings.QUEUES["default"], lambda context: None).poll_seconds == 2
        settings.OPSCONSOLE_BEAT_INTERVAL_SECONDS = 15
        assert Consumer(settings.QUEUES["default"], lambda context: None).poll_seconds == 5

    def test_worker_stops_after_max_jobs_and_deletes_its_row(
        self, send: Callable[..., None], ran: list[RunContext], sqs_queue: TestQueue, settings: Any
    ) -> None:
        for _ in range(3):
            send(factories.job(), run_epoch=1)
        consumer = Consumer(settings.QUEUES["default"], ran.append, max_jobs=2, poll_seconds=0)
        consumer.run()
        assert len(ran) == 2
        assert counts(sqs_queue) == (1, 0)
        assert not WorkerHeartbeat.objects.exists()

    def test_each_start_has_a_new_worker_id(self, sqs_queue: TestQueue, settings: Any) -> None:
        make = partial(Consumer, settings.QUEUES["default"], lambda context: None)
        assert make().worker.id != make().worker.id

    def test_timeline_names_the_worker(self, consumer: Consumer, send: Callable[..., None]) -> None:
        send(factories.job(), run_epoch=1)
        consumer.poll()
        assert set(JobEvent.objects.values_list("actor", flat=True)) == {f"worker:{consumer.worker.id}"}


def test_eight_workers_on_a_hostile_queue_run_each_job_once(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeSqs(duplicates=20, largest_read=1)
    url = fake.create("https://sqs.fake/000000000000/jobs", visibility_timeout=1, max_receive_count=1_000)
    monkeypatch.setattr(sqs, "client_for", fake.client_for)
    settings.QUEUES = {"default": QueueConfig("default", url, None)}
    jobs = [factories.job() for _ in range(40)]
    for job in jobs:
        for _ in range(2):
            sqs.send_raw(url, JobMessage(job_id=job.pk, run_epoch=1).to_body())
    fake.fail_next(6, unreachable())
    fake.fail_next(4, throttled())
    fake.drop_answers(10)
    ran: list[str] = []

    def run_one(context: RunContext) -> None:
        ran.append(str(context.job.id))

    def work() -> None:
        consumer = Consumer(settings.QUEUES["default"], run_one, poll_seconds=0)

        def emptied() -> bool:
            consumer.poll()
            return not fake.bodies(url)

        wait_until(emptied, timeout=25)
        reporting.current().close()

    race([work] * 8)
    assert sorted(ran) == sorted(str(job.pk) for job in jobs)
    assert set(Job.objects.values_list("status", flat=True)) == {Status.COMPLETED}
    told = Counter(JobEvent.objects.values_list("kind", flat=True))
    assert told == {JobEvent.Kind.CLAIMED: 40, JobEvent.Kind.COMPLETED: 40}
