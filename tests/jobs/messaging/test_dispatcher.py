"""Tests of the dispatcher: due messages are sent, failures lose nothing, obsolete messages are dropped."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import chain, count, repeat
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.db.models import F
from django.db.models.functions import Now

from jobs.intake import enqueue
from jobs.intake.enqueue import NewJob
from jobs.messaging import dispatcher, leases, outbox
from jobs.messaging.dispatcher import LONGEST_BACKOFF, backoff, dispatch
from jobs.messaging.leases import LEASE, Fate, Letter, Page
from jobs.models import Job, Outbox, Status
from jobs.operations import job_operations
from jobs.operations.steps import JobAction
from jobs.runs.restart import restart
from jobs.runs.timeline import Actor
from opsconsole_worker import sqs
from opsconsole_worker.environment import QueueConfig
from opsconsole_worker.messages import JobMessage, parse_body
from opsconsole_worker.runs import lifecycle
from opsconsole_worker.runs.heartbeats import Worker
from opsconsole_worker.runs.lifecycle import Run
from opsconsole_worker.runs.running_job import RunningJob
from tests.conftest import TestQueue
from tests.factories import SECOND, job, letter
from tests.fakes.sqs import FakeSqs, throttled, unreachable
from tests.racing import race

pytestmark = pytest.mark.django_db

State = Outbox.State
QUEUE, DLQ, OTHER = "https://sqs.fake/jobs", "https://sqs.fake/dead", "https://sqs.fake/other"


@pytest.fixture
def fake(settings: Any, monkeypatch: pytest.MonkeyPatch) -> FakeSqs:
    """Provide queue 'default' with a dead letter queue, and queue 'other' without."""
    account = FakeSqs()
    for url in (QUEUE, DLQ, OTHER):
        account.create(url)
    settings.QUEUES = {
        "default": QueueConfig("default", QUEUE, DLQ),
        "other": QueueConfig("other", OTHER, None),
    }
    monkeypatch.setattr(sqs, "client_for", account.client_for)
    return account


@pytest.fixture
def broken(fake: FakeSqs, monkeypatch: pytest.MonkeyPatch) -> FakeSqs:
    """Replace ``fake`` for queue 'default' by refused connections."""
    away = FakeSqs()
    away.create(QUEUE)
    away.fail_next(1_000, unreachable())
    monkeypatch.setattr(sqs, "client_for", lambda url: away if url == QUEUE else fake)
    return away


def let_pass(time: timedelta) -> None:
    """Age all waiting rows by this much time."""
    Outbox.objects.filter(state=State.WAITING).update(available_at=F("available_at") - time)


def wait_of(row: Outbox) -> timedelta:
    """Return how much time remains until the row is due."""
    pause = Outbox.objects.annotate(pause=F("available_at") - Now()).values_list("pause", flat=True)
    found: timedelta = pause.get(pk=row.pk)
    return found


def states() -> Counter[str]:
    return Counter(Outbox.objects.values_list("state", flat=True))


# --- the normal case, on the emulator ---


def test_enqueued_jobs_are_sent_and_recorded(sqs_queue: TestQueue) -> None:
    made = [NewJob(customer_id=f"TEST-{number}", package_size=50) for number in range(12)]
    enqueue.enqueue_many(made)
    done = dispatch()
    assert (done.sent, done.failed, done.refused, done.dropped) == (12, 0, 0, 0)
    assert done.reached == {"default/queue"}
    bodies = [json.loads(body) for body in sqs_queue.bodies()]
    assert {body["job_id"] for body in bodies} == {str(new.id) for new in made}
    row = Outbox.objects.get(job=made[0].id)
    assert (row.state, row.attempts, row.last_error) == (State.SENT, 1, "")
    assert row.message_id and row.sent_at
    assert dispatch().taken == 0


def test_dead_run_is_announced_on_the_dead_letter_queue(sqs_queue: TestQueue) -> None:
    dead = job(status=Status.IN_PROGRESS, run_epoch=3, claimed_epoch=3, worker_id="w")
    lifecycle.fail(Run(dead.pk, 3, Worker("w")), "ValueError: no address", retryable=False)
    assert dispatch().sent == 1
    assert sqs_queue.bodies() == []
    (body,) = [json.loads(body) for body in sqs_queue.bodies(sqs_queue.dlq_url)]
    assert (body["job_id"], body["run_epoch"], body["retry"]) == (str(dead.pk), 3, True)
    assert body["reason"] == "ValueError: no address"
    assert body["dead_letter_id"] == str(Outbox.objects.get().dead_letter_id)


def test_message_carries_the_values_of_the_job(fake: FakeSqs) -> None:
    stale = job(customer_id="TEST-\x01\u2028", package_size=7, priority_level="enterprise", run_epoch=2)
    outbox.post(stale.pk, 2, "default", reason=outbox.STALE_JOB_RECOVERY, retry=True)
    dispatch()
    assert json.loads(fake.bodies(QUEUE)[0]) == {
        "job_id": str(stale.pk),
        "customer_id": "TEST-\x01\u2028",
        "package_size": 7,
        "priority": "enterprise",
        "retry": True,
        "reason": "stale_job_recovery",
        "run_epoch": 2,
    }


@pytest.mark.parametrize(
    ("kind", "stored", "sent"),
    [
        ("numeric(10, 2)", "50.00", 50),
        ("numeric", "7.5", None),
        ("numeric", "'NaN'", None),
        ("text", "'50'", 50),
        ("text", "'large'", None),
        ("bigint", str(2**40), 2**40),
        ("double precision", "50", 50),
    ],
)
def test_package_size_of_other_type_does_not_stop_dispatch(
    fake: FakeSqs, kind: str, stored: str, sent: int | None
) -> None:
    """Send whole numbers; leave out other values, which the worker reads from the row."""
    odd, usual = job(), job()
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE jobs ALTER COLUMN package_size TYPE {kind} USING package_size::{kind}")
        cursor.execute(f"UPDATE jobs SET package_size = {stored} WHERE id = %s", [odd.pk])
    for row in (odd, usual):
        outbox.post(row.pk, 1, "default", reason="", retry=False)

    assert (dispatch().sent, states()) == (2, Counter({State.SENT: 2}))

    bodies = {json.loads(body)["job_id"]: body for body in fake.bodies(QUEUE)}
    messages = {job_id: parse_body(body, 262_144).package_size for job_id, body in bodies.items()}
    assert messages == {str(odd.pk): sent, str(usual.pk): 50}
    shown = Job.objects.get(pk=odd.pk).package_size
    assert (shown if sent else str(shown)) == (sent or stored.strip("'"))
    assert isinstance(Job.objects.get(pk=usual.pk).package_size, int)


def test_oldest_due_rows_are_sent_first_up_to_the_limit(fake: FakeSqs) -> None:
    rows = [letter(job(), due=age * SECOND) for age in (1, 5, 3)]
    assert dispatch(limit=2).sent == 2
    assert set(Outbox.objects.filter(state=State.SENT)) == {rows[1], rows[2]}


def test_batch_takes_two_statements(fake: FakeSqs, django_assert_num_queries: Any) -> None:
    for _ in range(30):
        letter(job())
    with django_assert_num_queries(3):  # take, settle, and a last query that finds no more rows
        assert dispatch().sent == 30


def test_no_page_is_leased_after_the_time_of_a_pass(fake: FakeSqs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop and the signs of life wait for the end of a pass."""
    monkeypatch.setattr(dispatcher, "PAGE", 1)
    now = [100.0]
    take = leases.take

    def take_a_second(*given: Any, **named: Any) -> Page:
        now[0] += 1
        return take(*given, **named)

    monkeypatch.setattr(dispatcher, "monotonic", lambda: now[0])
    monkeypatch.setattr(leases, "take", take_a_second)
    for _ in range(5):
        letter(job())

    assert dispatch(seconds=2).sent == 3
    assert Outbox.objects.filter(state="waiting", attempts=0).count() == 2
    assert dispatch().sent == 2


# --- concurrent dispatchers, crashes and expired leases (I2, I4) ---


@pytest.mark.django_db(transaction=True)
def test_three_dispatchers_send_each_message_once(fake: FakeSqs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "PAGE", 20)
    fake.latency = 0.001
    enqueue.enqueue_many([NewJob(customer_id="TEST-001", package_size=1) for _ in range(400)])
    done = race([dispatch] * 3)
    assert sum(part.sent for part in done) == 400
    assert len(set(fake.bodies(QUEUE))) == len(fake.bodies(QUEUE)) == 400
    assert set(Outbox.objects.values_list("state", "attempts")) == {(State.SENT, 1)}


def test_crash_between_sending_and_recording_sends_again_after_the_lease(
    fake: FakeSqs, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = job()
    row = letter(waiting)

    def die(page: Page, fates: Sequence[Fate]) -> int:
        raise OperationalError("the server closed the connection unexpectedly")

    with monkeypatch.context() as crash:
        crash.setattr(leases, "settle", die)
        with pytest.raises(OperationalError):
            dispatch()
    let_pass(LEASE - 10 * SECOND)
    assert dispatch().taken == 0
    let_pass(10 * SECOND)
    assert dispatch().sent == 1
    row.refresh_from_db()
    assert (row.state, row.attempts) == (State.SENT, 2)
    first, second = fake.bodies(QUEUE)
    assert first == second
    # The second copy is harmless: the first claims the run, and the second is refused and settled.
    assert isinstance(lifecycle.claim(waiting.pk, 1, Worker("worker-1")), RunningJob)
    copy = lifecycle.claim(waiting.pk, 1, Worker("worker-2"))
    assert isinstance(copy, lifecycle.Refused) and copy.refusal.settled


def test_dispatcher_whose_lease_ended_changes_nothing(fake: FakeSqs) -> None:
    row = letter(job())
    late = leases.take(10)
    let_pass(LEASE + SECOND)
    second = leases.take(10)
    assert [taken.id for taken in second.letters] == [row.pk]
    assert leases.settle(late, [Fate(row.pk, State.REFUSED, error="late")]) == 0
    assert leases.settle(second, [Fate(row.pk, State.SENT, message_id="m-1")]) == 1
    row.refresh_from_db()
    assert (row.state, row.message_id, row.last_error, row.attempts) == (State.SENT, "m-1", "", 2)


def test_answer_lost_after_storing_is_sent_again(fake: FakeSqs) -> None:
    row = letter(job())
    fake.drop_answers(1)
    done = dispatch()
    assert (done.sent, done.failed) == (0, 1)
    row.refresh_from_db()
    assert row.state == State.WAITING and "can't be reached" in row.last_error
    let_pass(2 * SECOND)
    assert dispatch().sent == 1
    assert len(fake.bodies(QUEUE)) == 2


def test_repeat_on_a_fifo_queue_is_dropped_by_sqs_but_a_resend_is_not(fake: FakeSqs, settings: Any) -> None:
    url = fake.create("https://sqs.fake/jobs.fifo")
    settings.QUEUES = {"default": QueueConfig("default", url, None)}
    waiting = job()
    letter(waiting)
    fake.drop_answers(1)
    dispatch()
    let_pass(2 * SECOND)
    assert dispatch().sent == 1
    assert len(fake.bodies(url)) == 1
    (message,) = fake.queues[url].messages.values()
    assert message.group_id == str(waiting.pk)
    assert list(fake.queues[url].deduplicated) == [f"{waiting.pk}:1:queue:0"]
    Outbox.objects.update(state=State.WAITING, resends=1, available_at=Now())
    assert dispatch().sent == 1
    assert len(fake.bodies(url)) == 2


@pytest.mark.parametrize("job_id", ["a b", "Müller-1", "a\nb", "x" * 129, "x" * 500])
def test_job_whose_id_names_no_group_is_sent_to_a_fifo_queue(fake: FakeSqs, job_id: Any) -> None:
    url = fake.create("https://sqs.fake/jobs.fifo")
    messages = [
        dispatcher.outgoing(
            Letter(number, "default", "queue", 0, resends, JobMessage(job_id=each, run_epoch=1)), url
        )
        for number, (each, resends) in enumerate([(job_id, 0), (f"{job_id}2", 0), (job_id, 1), (job_id, 0)])
    ]

    assert not [sent.error for sent in sqs.send_batch(url, messages) if sent.error]

    first, other, again = fake.queues[url].messages.values()
    assert first.group_id == again.group_id != other.group_id
    assert len({first.dedup_id, other.dedup_id, again.dedup_id}) == 3


# --- messages that are refused and queues that fail ---


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        ("passing:InternalError", State.WAITING),
        ("sender:RequestThrottled", State.WAITING),
        ("missing", State.WAITING),
        ("unmentioned", State.WAITING),
        ("sender:InvalidMessageContents", State.REFUSED),
    ],
)
def test_one_entry_of_a_batch_fails_alone(fake: FakeSqs, fault: str, state: str) -> None:
    bad, good = letter(job(customer_id="TEST-BAD")), letter(job(customer_id="TEST-GOOD"))
    fake.entry_fault = lambda body: fault if "TEST-BAD" in body else None
    done = dispatch()
    assert done.sent == 1
    assert (done.failed, done.refused) == ((1, 0) if state == State.WAITING else (0, 1))
    assert done.waiting_on == {}
    bad.refresh_from_db()
    good.refresh_from_db()
    assert (bad.state, good.state) == (state, State.SENT)
    assert bad.last_error and not good.last_error
    if state == State.WAITING:
        assert wait_of(bad) <= 1.1 * SECOND
        fake.entry_fault = lambda body: None
        let_pass(2 * SECOND)
        assert dispatch().sent == 1
        bad.refresh_from_db()
        assert (bad.state, bad.last_error, bad.attempts) == (State.SENT, "", 2)


@pytest.mark.parametrize("error", [unreachable(), throttled()], ids=["unreachable", "throttled"])
def test_queue_that_fails_gives_all_its_rows_back(fake: FakeSqs, error: Exception) -> None:
    rows = [letter(job()) for _ in range(25)]
    fake.fail_next(100, error)
    done = dispatch()
    assert (done.sent, done.failed, done.taken) == (0, 25, 25)
    assert list(done.waiting_on) == ["default/queue"] and not done.reached
    assert states() == {State.WAITING: 25}
    assert all(wait_of(row) <= 1.1 * SECOND for row in rows)
    assert set(Outbox.objects.values_list("last_error", flat=True)) == {done.waiting_on["default/queue"]}


def test_pages_are_leased_and_recorded_while_others_are_sent(
    fake: FakeSqs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "PAGE", 10)
    rows = [letter(job(), due=(60 - number) * SECOND) for number in range(40)]
    order: list[str] = []

    def noted(name: str) -> Callable[..., Any]:
        function = getattr(leases, name)

        def note(*given: Any, **more: Any) -> Any:
            order.append(name)
            return function(*given, **more)

        return note

    for name in ("take", "settle"):
        monkeypatch.setattr(leases, name, noted(name))
    done = dispatch()
    assert (done.sent, done.taken) == (40, 40)
    assert set(Outbox.objects.filter(pk__in=[row.pk for row in rows]).values_list("state", "attempts")) == {
        (State.SENT, 1)
    }
    # The first page alone, to see whether the queue accepts messages; then one page ahead of the other.
    assert order == ["take", "settle", "take", "take", "settle", "take", "settle", "take", "settle"]


def test_commit_of_outcomes_does_not_wait_for_the_disk_and_that_of_a_lease_does(fake: FakeSqs) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL synchronous_commit = on")
        row = letter(job())
        page = leases.take(10)
        cursor.execute("SHOW synchronous_commit")
        assert cursor.fetchone() == ("on",)
        assert leases.settle(page, [Fate(row.pk, State.SENT, message_id="m-1")]) == 1
        cursor.execute("SHOW synchronous_commit")
        assert cursor.fetchone() == ("off",)


def test_page_that_was_sent_is_recorded_though_the_next_one_can_not_be_leased(
    fake: FakeSqs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "PAGE", 10)
    for number in range(40):
        letter(job(), due=(60 - number) * SECOND)
    take, calls = leases.take, count(1)

    def take_twice(*given: Any, **options: Any) -> Page:
        if next(calls) > 2:
            raise OperationalError("canceling statement due to lock timeout")
        return take(*given, **options)

    monkeypatch.setattr(leases, "take", take_twice)
    with pytest.raises(OperationalError):
        dispatch()
    assert len(fake.bodies(QUEUE)) == 20
    assert states() == {State.SENT: 20, State.WAITING: 20}


def test_queue_that_fails_on_the_way_costs_no_more_than_the_page_that_was_leased_ahead(
    fake: FakeSqs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "PAGE", 10)
    for number in range(50):
        letter(job(), due=(60 - number) * SECOND)
    send, calls = sqs.send_batch, count(1)

    def send_twice(*given: Any, **options: Any) -> Any:
        if next(calls) > 2:
            raise sqs.QueueUnavailable("away")
        return send(*given, **options)

    monkeypatch.setattr(sqs, "send_batch", send_twice)
    done = dispatch()
    assert done.sent == 20 and done.failed in {10, 20}
    assert states() == {State.SENT: 20, State.WAITING: 30}
    assert Outbox.objects.filter(attempts=0).count() == 30 - done.failed


def test_failing_queue_gets_bounded_number_of_attempts(broken: FakeSqs) -> None:
    for _ in range(300):
        letter(job())
    assert dispatch().failed == dispatcher.FIRST_PAGE
    assert len(broken.calls) <= dispatcher.THREADS
    # No further message counts an attempt.
    assert Outbox.objects.filter(attempts=0).count() == 300 - dispatcher.FIRST_PAGE


def test_first_page_of_a_pass_is_one_call_per_thread(fake: FakeSqs, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(dispatcher.FIRST_PAGE + 30):
        letter(job())
    sizes: list[int] = []
    take = leases.take

    def noted(limit: int, **named: Any) -> Page:
        page = take(limit, **named)
        sizes.append(page.size)
        return page

    monkeypatch.setattr(leases, "take", noted)
    assert dispatch().sent == dispatcher.FIRST_PAGE + 30
    assert sizes == [dispatcher.FIRST_PAGE, 30, 0]
    assert len(fake.calls) == dispatcher.THREADS + 3


def test_pages_of_a_pass_grow_up_to_the_largest(fake: FakeSqs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "FIRST_PAGE", 2)
    monkeypatch.setattr(dispatcher, "PAGE", 12)
    for _ in range(30):
        letter(job())
    sizes: list[int] = []
    take = leases.take

    def noted(limit: int, **named: Any) -> Page:
        sizes.append(limit)
        return take(limit, **named)

    monkeypatch.setattr(leases, "take", noted)
    assert dispatch(limit=29).sent == 29
    assert sizes == [2, 4, 8, 12, 3]


def test_rows_of_a_queue_that_fails_never_starve_another(
    broken: FakeSqs, fake: FakeSqs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "PAGE", 10)
    for _ in range(35):
        letter(job(), due=60 * SECOND)
    for _ in range(15):
        letter(job(queue="other"), due=SECOND)
    done = dispatch(limit=30)
    assert done.sent == len(fake.bodies(OTHER)) == 15
    # Only one page of the failing queue was tried; its other rows count no attempt.
    assert done.failed == 10
    assert Outbox.objects.filter(queue="default", attempts=0).count() == 25


@pytest.mark.parametrize(
    ("queue", "destination", "status", "said"),
    [
        (
            "gone",
            "queue",
            Status.PENDING,
            "There is no queue 'gone' configured: set it in OPSCONSOLE_QUEUES.",
        ),
        ("other", "dlq", Status.FAILED, "Queue 'other' has no dead letter queue configured"),
    ],
)
def test_row_for_an_unconfigured_queue_waits_and_says_so(
    fake: FakeSqs, settings: Any, queue: str, destination: str, status: str, said: str
) -> None:
    row = letter(job(queue=queue, status=status), destination=destination)
    normal = letter(job())
    done = dispatch()
    assert (done.sent, done.failed) == (1, 1)
    row.refresh_from_db()
    assert row.state == State.WAITING and said in row.last_error
    assert said in done.waiting_on[f"{queue}/{destination}"]
    assert wait_of(row) >= 0.8 * LONGEST_BACKOFF
    settings.QUEUES = {queue: QueueConfig(queue, QUEUE, DLQ)}
    let_pass(2 * LONGEST_BACKOFF)
    assert dispatch().sent == 1
    normal.refresh_from_db()
    assert normal.state == State.SENT


def test_missing_queue_waits_for_configuration(fake: FakeSqs) -> None:
    del fake.queues[QUEUE]
    row = letter(job())
    done = dispatch()
    assert (done.failed, done.refused) == (1, 0)
    assert "can't be used" in done.waiting_on["default/queue"]
    assert wait_of(row) >= 0.8 * LONGEST_BACKOFF


def test_slow_queue_is_skipped_when_lease_could_expire(
    fake: FakeSqs, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = letter(job())
    times = chain([0.0] * 3, repeat(LEASE.total_seconds()))
    monkeypatch.setattr(dispatcher, "monotonic", lambda: next(times))
    assert dispatch().failed == 1
    row.refresh_from_db()
    assert (row.state, fake.bodies(QUEUE)) == (State.WAITING, [])
    assert "too slow" in row.last_error


def test_backoff_doubles_up_to_five_minutes() -> None:
    assert [backoff(attempts) / SECOND for attempts in (1, 2, 3, 9)] == [1, 2, 4, 256]
    assert backoff(10) == backoff(1_000_000) == LONGEST_BACKOFF == timedelta(minutes=5)


# --- message sizes ---


def test_batches_keep_within_one_mebibyte(fake: FakeSqs) -> None:
    for _ in range(12):
        letter(job(), reason="x" * 200_000)
    assert dispatch().sent == 12
    assert fake.calls.count("send_message_batch") == 3


def test_message_that_alone_is_too_large_is_refused_and_shown(fake: FakeSqs) -> None:
    huge, normal = letter(job(), reason="x" * 1_100_000), letter(job())
    done = dispatch()
    assert (done.sent, done.refused) == (1, 1)
    huge.refresh_from_db()
    normal.refresh_from_db()
    assert (huge.state, normal.state) == (State.REFUSED, State.SENT)
    assert "BatchRequestTooLong" in huge.last_error


# --- messages that are not sent ---


def superseded(waiting: Job) -> None:
    restart(Job.objects.filter(pk=waiting.pk))


def cancelled(waiting: Job) -> None:
    steps = job_operations.plan(JobAction.CANCEL, [waiting.pk])
    assert job_operations.carry_out(steps, Actor.operator("ada", None), "not wanted")[0].done


def claimed(waiting: Job) -> None:
    lifecycle.claim(waiting.pk, None, Worker("worker-1"))


def completed(waiting: Job) -> None:
    claimed(waiting)
    assert lifecycle.complete(Run(waiting.pk, 1, Worker("worker-1")))


def deleted(waiting: Job) -> None:
    Job.objects.filter(pk=waiting.pk).delete()


@pytest.mark.parametrize("happens", [superseded, cancelled, claimed, completed, deleted])
def test_row_whose_run_no_longer_waits_is_dropped(fake: FakeSqs, happens: Callable[[Job], None]) -> None:
    waiting = job()
    row = letter(waiting)
    happens(waiting)
    done = dispatch()
    assert (done.dropped, done.sent, done.taken) == (1, 0, 1)
    row.refresh_from_db()
    assert (row.state, row.attempts, fake.bodies(QUEUE)) == (State.DROPPED, 0, [])


@pytest.mark.parametrize(
    ("status", "epoch", "sent"),
    [
        (Status.FAILED, 2, True),
        (Status.QUARANTINED, 2, True),
        (Status.PENDING, 3, False),
        (Status.FAILED, 3, False),
        (Status.COMPLETED, 2, False),
        ("on_hold", 2, False),
    ],
)
def test_dead_letter_is_sent_only_of_a_run_that_is_dead(
    fake: FakeSqs, status: str, epoch: int, sent: bool
) -> None:
    dead = job(status=status, run_epoch=epoch)
    letter(dead, run_epoch=2, destination="dlq")
    dispatch()
    assert states() == {State.SENT if sent else State.DROPPED: 1}
    assert len(fake.bodies(DLQ)) == int(sent)


def test_row_is_held_until_its_job_may_start(fake: FakeSqs) -> None:
    later = job(not_before=Now() + 90 * SECOND)
    row = letter(later)
    done = dispatch()
    assert (done.held, done.sent, done.failed) == (1, 0, 0)
    row.refresh_from_db()
    assert (row.state, row.available_at, row.attempts) == (State.WAITING, later.not_before, 0)
    let_pass(90 * SECOND)
    Job.objects.update(not_before=Now() + 10 * SECOND)
    assert dispatch().held == 1
    Job.objects.update(not_before=Now())
    let_pass(10 * SECOND)
    assert dispatch().sent == 1


def test_job_that_never_starts_does_not_delay_others(fake: FakeSqs) -> None:
    """Use a timestamp that PostgreSQL accepts and Python cannot represent."""
    parked = letter(job(), due=SECOND)
    letter(job())
    with connection.cursor() as cursor:
        cursor.execute("UPDATE jobs SET not_before = 'infinity' WHERE id = %s", [parked.job_id])
    done = dispatch()
    assert (done.held, done.sent) == (1, 1)
    assert Outbox.objects.filter(pk=parked.pk, state=State.WAITING, attempts=0).exists()
    assert dispatch().taken == 0
