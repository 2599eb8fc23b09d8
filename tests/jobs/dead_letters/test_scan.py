"""Tests of scanning a misbehaving queue: what is seen and recorded, and that every message is released."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from django.db import connection

from jobs.dead_letters import origins, queue_visit, scan, scan_coverage
from jobs.dead_letters.scan import Budget, ScanResult
from jobs.models import DeadLetter, DeadLetterQueue
from opsconsole_worker import sqs
from opsconsole_worker.sqs import QueueDepth, Received
from tests.fakes import sqs as fakes
from tests.jobs.dead_letters.account import (
    BUDGET,
    DLQ,
    FIFO_DLQ,
    Account,
    letter,
    letters,
    replay,
    state,
    steps_of,
)

State = DeadLetter.State


def look(about: int, budget: Budget = BUDGET, deletes: Sequence[str] = ()) -> tuple[ScanResult, list[str]]:
    seen: list[str] = []

    def work(page: Sequence[Received]) -> list[str]:
        seen.extend(each.message_id for each in page)
        return [each.message_id for each in page if each.message_id in deletes]

    return scan.scan(DLQ, about, work, budget), seen


def noting(sizes: list[int]) -> scan.Work:
    """Return a visitor that keeps all messages in place and notes the size of each page."""

    def work(page: Sequence[Received]) -> list[str]:
        sizes.append(len(page))
        return []

    return work


def test_scan_sees_and_releases_every_message(account: Account) -> None:
    ids = account.die(*(str(number) for number in range(57)))

    scanned, seen = look(57)

    assert sorted(seen) == sorted(ids)
    assert (scanned.seen, scanned.exhausted) == (57, True)
    assert account.fake.hidden(DLQ) == 0
    assert account.fake.calls.count("change_message_visibility_batch") == 6


def test_page_takes_many_receives_and_keeps_no_bodies(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.die(*(f"{number} of the orders" for number in range(57)))
    monkeypatch.setattr(scan, "PAGE_MESSAGES", 30)
    pages: list[int] = []
    under_way = scan._Scan(DLQ, 57, noting(pages), BUDGET)

    under_way.run()

    assert pages == [30, 27]
    assert len(under_way.held) == 57
    assert not under_way.page
    assert {message.body for message in under_way.held.values()} == {""}


def test_pages_with_large_bodies_are_shorter(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    account.die(*(str(number) * 100 for number in range(30)))
    monkeypatch.setattr(scan, "PAGE_CHARACTERS", 1_000)
    pages: list[int] = []

    scan.scan(DLQ, 30, noting(pages), BUDGET)

    assert pages == [10, 10, 10]


def test_message_received_twice_is_yielded_once_with_valid_handle(account: Account) -> None:
    [sent] = account.die("a")
    account.fake.duplicates = 1
    handles: list[str] = []

    def work(page: Sequence[Received]) -> set[str]:
        handles.extend(message.receipt_handle for message in page)
        return sqs.delete_batch(page)

    scanned = scan.scan(DLQ, 2, work, BUDGET)

    assert handles == [f"{sent}#5"]
    assert scanned.deleted == 1
    assert account.dead() == []


def test_scan_continues_after_short_and_empty_receives(account: Account) -> None:
    account.die(*(str(number) for number in range(20)))
    account.fake.largest_read, account.fake.empty_reads = 3, 2

    scanned, seen = look(20)

    assert len(seen) == 20
    assert scanned.exhausted


def test_scan_ends_after_repeated_empty_receives(account: Account) -> None:
    account.die("a")
    account.fake.largest_read = 0

    scanned, seen = look(1)

    assert (seen, scanned.exhausted) == ([], True)
    assert account.fake.calls.count("receive_message") == scan.MOST_EMPTY_READS


def test_scan_ends_when_budget_is_used_up(account: Account) -> None:
    account.die(*(str(number) for number in range(30)))

    by_messages, seen = look(30, Budget(seconds=5, messages=10))
    by_time, _ = look(30, Budget(seconds=0, messages=100))

    assert (len(seen), by_messages.exhausted) == (10, False)
    assert by_messages.why_stopped == "10 messages were seen"
    assert by_time.why_stopped == "0 seconds were used up"
    assert account.fake.hidden(DLQ) == 0


def test_scan_ends_when_messages_repeat(account: Account) -> None:
    account.die("a", "b")
    account.fake.duplicates = 4

    scanned, seen = look(9)

    assert (len(seen), scanned.why_stopped) == (2, "the same messages came again")


def test_failed_releases_are_retried_then_left_to_visibility_timeout(
    account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    account.die("stubborn", "mild")
    account.fake.handle_fault = lambda body: "InternalError" if body == "stubborn" else None

    look(2)

    assert "1 messages could not be returned" in caplog.text
    assert account.fake.hidden(DLQ) == 1
    account.clock.pass_by(timedelta(minutes=5))
    assert account.fake.hidden(DLQ) == 0


def test_held_messages_are_released_when_receive_fails(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.die(*(str(number) for number in range(15)))
    receive = account.fake.receive_message

    def fail_the_second(**options: Any) -> Any:
        account.fake.fail_next(1, fakes.client_error("InternalError", 500), call="receive")
        monkeypatch.setattr(account.fake, "receive_message", receive)
        account.fake.heal()
        answer = receive(**options)
        account.fake.fail_next(1, fakes.client_error("InternalError", 500), call="receive")
        return answer

    monkeypatch.setattr(account.fake, "receive_message", fail_the_second)
    with pytest.raises(sqs.QueueUnavailable):
        look(15)

    assert account.fake.hidden(DLQ) == 0


def test_deleted_messages_are_not_released(account: Account) -> None:
    ids = account.die("a", "b")

    scanned, _ = look(2, deletes=ids[:1])

    assert scanned.deleted == 1
    assert account.fake.calls.count("change_message_visibility_batch") == 1


def test_fifo_group_shows_first_messages_and_is_unlocked_after_scan(account: Account) -> None:
    account.die(*(str(number) for number in range(14)), fifo=True, group="one")
    account.die("other", fifo=True, group="two")
    seen: list[str] = []

    def note(page: Sequence[Received]) -> list[str]:
        seen.extend(each.body for each in page)
        return []

    scanned = scan.scan(FIFO_DLQ, 15, note, BUDGET)

    assert seen == [*(str(number) for number in range(10)), "other"]
    assert scanned.seen == 11
    assert account.fake.hidden(FIFO_DLQ) == 0


def depth(visible: int, in_flight: int = 0) -> QueueDepth:
    return QueueDepth(
        visible=visible,
        in_flight=in_flight,
        delayed=0,
        visibility_timeout_seconds=30,
        retention_seconds=345_600,
    )


@pytest.mark.parametrize(
    ("before", "scanned", "full"),
    [
        (depth(3), ScanResult(seen=3, exhausted=True), True),
        (depth(3), ScanResult(seen=4, exhausted=True), True),
        (depth(3), ScanResult(seen=2, exhausted=True), False),
        (depth(3), ScanResult(seen=3, exhausted=False), False),
        (depth(2, in_flight=1), ScanResult(seen=3, exhausted=True), False),
        (depth(0), ScanResult(seen=0, exhausted=True), True),
    ],
)
def test_scan_is_complete_only_when_provable(before: QueueDepth, scanned: ScanResult, full: bool) -> None:
    assert queue_visit.is_full(before, scanned) == full


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "not scanned yet"),
        ({"seen": 1_200, "about": 5_000}, "1,200 of about 5,000 seen"),
        ({"seen": 12, "about": 12, "full": True}, "all 12 seen"),
        ({"seen": 0, "about": 0, "full": True}, "empty"),
    ],
)
def test_coverage_wording(fields: dict[str, Any], sentence: str) -> None:
    assert scan_coverage.in_words(DeadLetterQueue(**{"full": False} | fields)) == sentence


@pytest.mark.django_db
def test_known_letter_is_counted_and_not_stored_again(account: Account) -> None:
    [message_id] = account.die("order")
    account.check()
    account.fake.receive_message(QueueUrl=DLQ, VisibilityTimeout=0)
    account.check()

    made = letter(message_id)
    assert (made.views, made.receive_count) == (2, 6)
    assert made.last_seen_at > made.first_seen_at


@pytest.mark.django_db
def test_letter_is_gone_after_two_complete_scans(account: Account) -> None:
    ids = account.die("stays", "goes")
    account.check()
    del account.fake.queues[DLQ].messages[ids[1]]

    account.check()
    assert state(letter(ids[1])) == State.IN_QUEUE
    account.check()

    assert [state(each) for each in letters(ids)] == [State.IN_QUEUE, State.GONE]


@pytest.mark.django_db
def test_incomplete_scan_marks_no_letter_gone(account: Account) -> None:
    ids = account.die("a", "b")
    account.check()
    account.fake.largest_read = 0

    for _ in range(4):
        account.check()

    assert {state(each) for each in letters(ids)} == {State.IN_QUEUE}


@pytest.mark.django_db
def test_empty_queue_marks_letters_gone_unless_just_seen(account: Account) -> None:
    [message_id] = account.die("order")
    account.check()
    account.fake.queues[DLQ].messages.clear()
    account.check()
    assert state(letter(message_id)) == State.IN_QUEUE

    made = letter(message_id)
    DeadLetter.objects.update(last_seen_at=made.last_seen_at - timedelta(minutes=2), missed=0)
    account.check()

    assert state(letter(message_id)) == State.GONE


@pytest.mark.django_db
def test_gone_letter_that_reappears_is_restored(account: Account) -> None:
    [message_id] = account.die("order")
    account.check()
    DeadLetter.objects.update(state=State.GONE)

    account.check()

    assert state(letter(message_id)) == State.IN_QUEUE


@pytest.mark.django_db
def test_sent_letter_that_left_the_queue_is_settled(account: Account) -> None:
    [message_id] = account.die("order")
    account.check()
    account.fake.fail_next(9, fakes.client_error("InternalError", 500), call="delete")
    replay(letter(message_id))
    account.work()
    account.fake.queues[DLQ].messages.clear()

    account.check()
    account.check()

    assert (state(letter(message_id)), steps_of(letter(message_id))) == (State.REPLAYED, [("replay", "done")])


@pytest.mark.django_db
def test_origin_of_letter(account: Account) -> None:
    arn = "arn:aws:sqs:eu-west-1:123456789012:orders.fifo"

    assert origins.origin_of(["default"], arn, None) == "orders"
    assert origins.origin_of(["default"], arn.replace("eu-west-1", "us-east-1"), None) == ""
    assert origins.origin_of(["default"], arn.replace("orders", "theirs"), None) == ""
    assert origins.origin_of(["default"], "", None) == "default"
    assert origins.origin_of(["default", "orders"], "", None) == ""
    assert origins.origin_of(["default", "orders"], "", "orders") == "orders"
    assert origins.origin_of(["default", "orders"], "", "theirs") == ""


@pytest.mark.django_db
def test_scan_of_emulator(sqs_queue: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scan and replay messages that the emulator itself moved to the dead letter queue."""
    monkeypatch.setattr(scan, "WAIT_SECONDS", 0)
    client = sqs_queue.client
    client.send_message(
        QueueUrl=sqs_queue.url,
        MessageBody="order 1",
        MessageAttributes={"tenant": {"DataType": "String", "StringValue": "blue"}},
    )
    for _ in range(4):
        client.receive_message(QueueUrl=sqs_queue.url, VisibilityTimeout=0)
    [dlq] = origins.configured()
    visited = queue_visit.visit(dlq, BUDGET)
    assert (visited.depth, visited.seen) == (1, 1)
    made = DeadLetter.objects.get()
    assert (made.body, made.attributes) == ("order 1", {"tenant": {"type": "String", "value": "blue"}})

    replay(made)
    visited = queue_visit.visit(dlq, BUDGET)

    assert (visited.sent, visited.deleted, visited.depth) == (1, 1, 0)
    assert sqs_queue.bodies() == ["order 1"]


def test_receives_side_by_side_lose_nothing_when_one_of_them_fails(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.die(*(str(number) for number in range(50)))
    receive, calls = sqs.receive, count(1)

    def receive_but_the_third(*given: Any, **options: Any) -> list[Received]:
        if next(calls) == 3:
            raise sqs.QueueUnavailable("the third")
        return receive(*given, **options)

    monkeypatch.setattr(sqs, "receive", receive_but_the_third)
    handed_over: list[str] = []

    def work(page: Sequence[Received]) -> list[str]:
        handed_over.extend(message.message_id for message in page)
        return []

    with pytest.raises(sqs.QueueUnavailable, match="the third"):
        scan.scan(DLQ, 50, work, BUDGET)

    # The first receive came alone, because nobody knew how large the messages are.
    assert len(set(handed_over)) == 10 + (scan.RECEIVES_AT_ONCE - 1) * 10
    assert account.fake.hidden(DLQ) == 0


def test_messages_received_during_work_that_fails_are_returned(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.die(*(str(number) for number in range(50)))
    monkeypatch.setattr(scan, "PAGE_MESSAGES", 10)

    def work(page: Sequence[Received]) -> list[str]:
        raise RuntimeError(f"a page of {len(page)}")

    with pytest.raises(RuntimeError, match="a page of 10"):
        scan.scan(DLQ, 50, work, BUDGET)

    assert account.fake.calls.count("receive_message") == 2
    assert account.fake.hidden(DLQ) == 0


@pytest.mark.django_db
def test_letters_that_are_seen_again_change_no_index(account: Account) -> None:
    account.die(*(f"order {number}" for number in range(3)))
    account.check()
    before = updated()
    account.check()
    rows, without_indexes = (now - was for now, was in zip(updated(), before, strict=True))
    assert (rows, without_indexes) == (3, 3)


def updated() -> tuple[int, int]:
    """Return how many letters this transaction has updated, and how many of them without a new entry in any index."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_stat_get_xact_tuples_updated(letters.id), pg_stat_get_xact_tuples_hot_updated(letters.id)"
            "  FROM (SELECT 'dead_letters'::regclass AS id) AS letters"
        )
        rows, without_indexes = cursor.fetchone()
    return rows, without_indexes
