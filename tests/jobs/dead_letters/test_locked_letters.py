"""Tests of scans and replays beside a locked letter: it costs its own turn, and everything else goes on (I13)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now

from alerts.models import Alert
from jobs.dead_letters import check, removed_queues, search_text, send_outcomes
from jobs.models import DeadLetter, DeadLetterQueue, ReplayAttempt
from opsconsole.kit import row_locks
from opsconsole_worker.environment import QueueConfig
from tests.jobs.dead_letters.account import DLQ, HOST, QUEUE, Account, letter, letters, replay, state
from tests.lock_waits import waits_in_vain
from tests.other_sessions import OtherSession, other_session

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("rules_without_delay")]

State = DeadLetter.State
WAIT = timedelta(milliseconds=300)


@pytest.fixture(autouse=True)
def short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_locks, "WAIT", WAIT)


@pytest.fixture
def other() -> Iterator[OtherSession]:
    with other_session() as session:
        yield session


@pytest.fixture(autouse=True)
def waits() -> Iterator[list[int]]:
    """Check that nothing waits for as long as the role may, which is ten seconds."""
    with waits_in_vain() as waits:
        yield waits
    assert all(0 < each <= WAIT / timedelta(milliseconds=1) for each in waits), waits


def hold(session: OtherSession, *held: DeadLetter) -> None:
    session.execute(
        "SELECT FROM dead_letters WHERE id = ANY(%s) FOR NO KEY UPDATE", [[each.pk for each in held]]
    )


def test_scan_stores_what_is_new_and_visits_the_next_queue(
    account: Account, other: OtherSession, waits: list[int]
) -> None:
    ids = account.die("one", "two")
    check.check()
    hold(other, letter(ids[0]))
    [new] = account.die("three")
    account.die("ordered", fifo=True)

    first, second = check.check()

    assert len(waits) <= 1
    assert (first.new, second.new) == (1, 1)
    assert (first.visited.locked, second.visited.locked) == (1, 0)
    assert "1 locked by others" in str(first)
    assert [each.views for each in letters([*ids, new])] == [1, 2, 1]
    assert Alert.objects.open().filter(rule="dlq_not_empty").count() == 2


def test_locked_letter_is_not_taken_for_gone(account: Account, other: OtherSession) -> None:
    [message_id] = account.die("one")
    account.check()
    hold(other, letter(message_id))
    account.check()
    account.check()
    other.rollback()

    assert (state(letter(message_id)), letter(message_id).missed) == (State.IN_QUEUE, 0)


def test_locked_letter_that_left_is_gone_later(account: Account, other: OtherSession) -> None:
    one, two = account.die("one", "two")
    account.check()
    hold(other, letter(one))
    account.fake.queues[DLQ].messages.clear()
    account.clock.pass_by(timedelta(minutes=2))
    DeadLetter.objects.filter(message_id=two).update(last_seen_at=Now() - timedelta(minutes=2))

    account.check()
    account.check()
    assert (state(letter(one)), state(letter(two))) == (State.IN_QUEUE, State.GONE)
    other.rollback()
    account.check()
    account.check()
    assert state(letter(one)) == State.GONE


def test_locked_letter_is_told_as_new_once_it_is_free(account: Account, other: OtherSession) -> None:
    [message_id] = account.die("one")
    account.check()
    DeadLetter.objects.update(told_at=None)
    hold(other, letter(message_id))
    assert account.check().new == 0
    other.rollback()
    assert account.check().new == 1


def test_replay_of_others_goes_on(account: Account, other: OtherSession) -> None:
    ids = account.die("one", "two", "three")
    account.check()
    replay(*letters(ids))
    hold(other, letter(ids[1]))

    account.work()

    assert sorted(account.waiting()) == ["one", "three"]
    assert [state(each) for each in letters(ids)] == [State.REPLAYED, State.REPLAYING, State.REPLAYED]
    other.rollback()
    account.work()
    assert sorted(account.waiting()) == ["one", "three", "two"]
    assert state(letter(ids[1])) == State.REPLAYED


def test_request_that_others_lock_is_sent_later(account: Account, other: OtherSession) -> None:
    ids = account.die("one", "two")
    account.check()
    replay(*letters(ids))
    attempt = ReplayAttempt.objects.get(letter=letter(ids[0]))
    other.execute("SELECT FROM dead_letter_ledger WHERE id = %s FOR NO KEY UPDATE", [attempt.pk])

    account.work()

    assert account.waiting() == ["two"]
    other.rollback()
    account.work()
    assert sorted(account.waiting()) == ["one", "two"]


def test_letters_of_a_removed_queue_block_no_replay(
    account: Account, other: OtherSession, settings: Any
) -> None:
    ids = account.die("one", "two")
    account.check()
    replay(*letters(ids))
    account.fake.create(f"{HOST}/jobs-dlq-2")
    settings.QUEUES = {"default": QueueConfig("default", QUEUE, f"{HOST}/jobs-dlq-2")}
    hold(other, letter(ids[0]))

    assert removed_queues.retire_letters() == 1
    account.work()

    assert account.waiting() == ["two"]
    other.rollback()
    account.work()
    assert sorted(account.waiting()) == ["one", "two"]


def test_sent_copy_is_recorded_as_sent_though_its_letter_is_locked(
    account: Account, other: OtherSession
) -> None:
    ids = account.die("one", "two")
    account.check()
    DeadLetter.objects.update(state=State.KEPT)
    replay(*letters(ids))
    hold(other, letter(ids[0]))

    account.work()

    assert sorted(account.waiting()) == ["one", "two"]
    attempts = ReplayAttempt.objects.order_by("letter__first_seen_at", "pk")
    by_letter = {each.letter.message_id: each.state for each in attempts.select_related("letter")}
    assert by_letter == {ids[0]: ReplayAttempt.State.SENT, ids[1]: ReplayAttempt.State.DONE}
    other.rollback()
    account.work()
    assert sorted(account.waiting()) == ["one", "two"]
    assert state(letter(ids[0])) == State.REPLAYED


def test_refused_request_of_a_locked_letter_stays_open(account: Account, other: OtherSession) -> None:
    ids = account.die("one", "two")
    account.check()
    replay(*letters(ids))
    ReplayAttempt.objects.update(state=ReplayAttempt.State.SENDING)
    hold(other, letter(ids[0]))

    send_outcomes.fail([each.pk for each in ReplayAttempt.objects.all()], "No.")

    states = {each.letter_id: each.state for each in ReplayAttempt.objects.all()}
    assert states[letter(ids[0]).pk] == ReplayAttempt.State.WANTED
    assert states[letter(ids[1]).pk] == ReplayAttempt.State.NOT_DONE


def test_words_of_the_others_are_rebuilt(account: Account, other: OtherSession) -> None:
    ids = account.die("one", "two")
    account.check()
    DeadLetter.objects.update(words_of="0")
    hold(other, letter(ids[0]))
    assert search_text.catch_up() == 1


def test_queue_that_others_lock_does_not_stop_the_next(
    account: Account, other: OtherSession, settings: Any
) -> None:
    check.check()
    other.execute(
        "SELECT FROM dead_letter_queues WHERE id = %s FOR NO KEY UPDATE",
        [DeadLetterQueue.objects.get(url=settings.QUEUES["default"].dlq_url).pk],
    )
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '300ms'")
    try:
        first, second = check.check()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET lock_timeout")
    assert "locked" in first.visited.problem
    assert second.visited.depth == 0
