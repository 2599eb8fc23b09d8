"""Tests of replay and discard down to SQS: no letter is lost or sent twice unless the ledger says so (I9)."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from django.db import OperationalError
from django.db.models.functions import Now

from jobs.dead_letters import fifo_order, scan, send_outcomes, sending, snapshot
from jobs.dead_letters import replay as replaying
from jobs.letter_ledger.entries import LetterAction
from jobs.messaging import dispatcher
from jobs.models import DeadLetter, Job, Outbox, ReplayAttempt, Status
from opsconsole_worker import sqs
from opsconsole_worker.environment import QueueConfig
from tests.factories import job
from tests.fakes import sqs as fakes
from tests.jobs.dead_letters.account import (
    DLQ,
    FIFO_DLQ,
    QUEUE,
    Account,
    decide,
    letter,
    letters,
    replay,
    state,
    steps_of,
)

pytestmark = pytest.mark.django_db

State = DeadLetter.State
Step = ReplayAttempt.State


def test_foreign_letter_is_sent_and_deleted_each_recorded(account: Account) -> None:
    attribute = {"tenant": {"DataType": "String", "StringValue": "blue"}}
    [message_id] = account.die("an order of others", MessageAttributes=attribute)
    account.check()
    made = letter(message_id)

    replay(made)
    done = account.work()

    assert (done.sent, done.deleted, done.waiting) == (1, 1, 0)
    assert (account.waiting(), account.dead()) == (["an order of others"], [])
    [sent] = account.fake.queues[QUEUE].messages.values()
    assert sent.attributes == attribute
    assert state(made) == State.REPLAYED
    row = made.attempts.get()
    assert (row.action, row.state, row.new_message_id) == ("replay", "done", sent.id)
    steps = [row.wanted_at, row.sending_at, row.sent_at, row.deleted_at, row.ended_at]
    times = [at for at in steps if at]
    assert len(times) == 5 and times == sorted(times)
    assert (row.actor, row.reason) == ("operator:olga", "the directory is back")


def test_log_tells_of_each_letter_that_is_found_replayed_and_deleted(
    account: Account, caplog: pytest.LogCaptureFixture, django_capture_on_commit_callbacks: Any
) -> None:
    caplog.set_level(logging.INFO, "opsconsole.activity")
    with django_capture_on_commit_callbacks(execute=True):
        account.die(*(f"order {number}" for number in range(12)))
        account.check()
        replay(*DeadLetter.objects.all())
        account.work()
    told: dict[str, list[str]] = {}
    for record in caplog.records:
        facts = record.__dict__["facts"]
        told.setdefault(record.getMessage(), []).extend(
            row.get("letter") for row in facts.get("each", [facts])
        )
    ids = Counter(DeadLetter.objects.values_list("pk", flat=True))
    assert len(ids) == 12
    for event in ("dead letter found", "dead letter replayed", "dead letter deleted from its queue"):
        assert Counter(told[event]) == ids, event


def test_job_letter_is_deleted_after_new_message_was_sent(account: Account) -> None:
    made = job(status=Status.FAILED)
    message_id = account.die_with(made)
    account.check()
    replay(letter(message_id))

    account.work()
    assert len(account.dead()) == 1
    assert steps_of(letter(message_id)) == [("replay", "requeued")]

    dispatcher.dispatch()
    account.work()
    assert account.dead() == []
    row = letter(message_id).attempts.get()
    assert (row.state, row.new_message_id) == ("done", Outbox.objects.get(job=made).message_id)
    assert len(account.waiting()) == 1


def test_dropped_message_leaves_letter_in_queue(account: Account) -> None:
    made = job(status=Status.FAILED)
    message_id = account.die_with(made)
    account.check()
    replay(letter(message_id))
    Job.objects.filter(pk=made.pk).update(status=Status.CANCELLED)

    dispatcher.dispatch()
    account.work()

    assert state(letter(message_id)) == State.IN_QUEUE
    row = letter(message_id).attempts.get()
    assert (row.state, row.outcome) == (
        "not_done",
        "Its job's new message was dropped: the run was no longer current.",
    )
    assert len(account.dead()) == 1


def test_failed_send_leaves_letter_in_queue(account: Account) -> None:
    [message_id] = account.die("poison")
    account.check()
    account.fake.entry_fault = lambda body: "sender:InvalidMessageContents"
    replay(letter(message_id))

    account.work()

    assert (account.waiting(), account.dead()) == ([], ["poison"])
    assert state(letter(message_id)) == State.IN_QUEUE
    row = letter(message_id).attempts.get()
    assert row.state == "not_done"
    assert "InvalidMessageContents" in row.outcome


@pytest.mark.parametrize("error", [fakes.throttled(), fakes.unreachable()])
def test_send_is_put_off(account: Account, error: Exception) -> None:
    [message_id] = account.die("order")
    account.check()
    account.fake.fail_next(1, error, call="send")
    replay(letter(message_id))

    account.work()
    assert steps_of(letter(message_id)) == [("replay", "wanted")]
    assert account.dead() == ["order"]

    account.work()
    assert steps_of(letter(message_id)) == [("replay", "done")]
    assert (account.waiting(), account.dead()) == (["order"], [])


def test_of_batches_side_by_side_only_those_that_were_not_sent_wait_again(account: Account) -> None:
    ids = account.die(*(f"order {number}" for number in range(100)))
    account.check()
    account.fake.fail_next(1, fakes.throttled(), call="send")
    replay(*letters(ids))

    account.work()
    sent = account.waiting()
    still_wanted = {each.message_id for each in letters(ids) if steps_of(each) == [("replay", "wanted")]}
    assert len(sent) + len(still_wanted) == 100 and len(still_wanted) >= 10

    account.work()
    assert sorted(account.waiting()) == sorted(f"order {number}" for number in range(100))
    assert {tuple(steps_of(each)) for each in letters(ids)} == {(("replay", "done"),)}


def test_one_page_at_a_time_has_intents_without_an_outcome(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "PAGE_MESSAGES", 10)
    ids = account.die(*(f"order {number}" for number in range(40)))
    account.check()
    replay(*letters(ids))
    intend, open_intents = sending._intend, list[int]()

    def counted(parcels: Sequence[sending.Parcel]) -> list[sending.Parcel]:
        open_intents.append(ReplayAttempt.objects.filter(state=Step.SENDING).count())
        return intend(parcels)

    monkeypatch.setattr(sending, "_intend", counted)
    account.work()

    assert open_intents == [0, 0, 0, 0]
    assert sorted(account.waiting()) == sorted(f"order {number}" for number in range(40))
    assert account.dead() == []


def test_page_that_is_being_sent_is_recorded_and_deleted_though_the_next_cannot_be_stored(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "PAGE_MESSAGES", 10)
    ids = account.die(*(f"order {number}" for number in range(30)))
    account.check()
    replay(*letters(ids))
    keep, pages = snapshot.keep, count(1)

    def keep_but_the_second(*given: Any) -> dict[str, DeadLetter]:
        if next(pages) == 2:
            raise OperationalError("the server went away")
        return keep(*given)

    monkeypatch.setattr(snapshot, "keep", keep_but_the_second)
    with pytest.raises(OperationalError, match="went away"):
        account.work()

    assert Counter(steps_of(each)[0][1] for each in letters(ids)) == {"done": 10, "wanted": 20}
    assert (len(account.waiting()), account.fake.hidden(DLQ), len(account.dead())) == (10, 0, 20)


def test_intent_that_cannot_be_recorded_for_one_queue_hides_no_outcome_of_another(
    account: Account, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    more = f"{QUEUE}-more"
    account.fake.create(more)
    settings.QUEUES = settings.QUEUES | {"more": QueueConfig("more", more, DLQ)}
    ids = account.die(*(f"order {number}" for number in range(20)))
    account.check()
    DeadLetter.objects.filter(message_id__in=ids[10:]).update(queue="more")
    replay(*letters(ids))
    intend = sending._intend

    def intend_for_one_queue(parcels: Sequence[sending.Parcel]) -> list[sending.Parcel]:
        if any(parcel.letter.queue == "more" for parcel in parcels):
            raise OperationalError("the server went away")
        return intend(parcels)

    with monkeypatch.context() as patch:
        patch.setattr(sending, "_intend", intend_for_one_queue)
        with pytest.raises(OperationalError, match="went away"):
            account.work()
    recorded = Counter(steps_of(each)[0][1] for each in letters(ids))
    assert recorded["sending"] == 0
    assert recorded["done"] == len(account.waiting()) + len(account.fake.bodies(more))

    account.work()
    assert (len(account.waiting()), len(account.fake.bodies(more)), account.dead()) == (10, 10, [])
    assert {tuple(steps_of(each)) for each in letters(ids)} == {(("replay", "done"),)}


def test_no_call_begins_so_late_that_its_intent_would_be_given_up(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    [message_id] = account.die("order")
    account.check()
    monkeypatch.setattr(sending, "SENT_WITHIN", timedelta(seconds=-1))
    replay(letter(message_id))

    account.work()

    assert steps_of(letter(message_id)) == [("replay", "wanted")]
    assert (account.waiting(), account.fake.calls.count("send_message_batch")) == ([], 0)


def test_lost_answer_leaves_outcome_unknown_and_prevents_resend(account: Account) -> None:
    [message_id] = account.die("order")
    account.check()
    account.fake.drop_answers(1, call="send")
    replay(letter(message_id))

    for _ in range(3):
        account.work()
        account.check()

    assert account.waiting() == ["order"]
    assert account.dead() == ["order"]
    assert state(letter(message_id)) == State.OUTCOME_UNKNOWN
    assert not replay(letter(message_id))[0].done

    decide(LetterAction.MARK_SENT, letter(message_id))
    account.work()
    assert (account.waiting(), account.dead()) == (["order"], [])
    assert state(letter(message_id)) == State.REPLAYED


def test_boto_does_not_retry_send() -> None:
    config: Any = sqs.client_for(QUEUE, once=True).meta.config

    assert config.retries["total_max_attempts"] == 1


def test_killed_between_intent_and_answer(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    [message_id] = account.die("order")
    account.check()
    replay(letter(message_id))

    def killed(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sqs, "send_batch", killed)
        with pytest.raises(KeyboardInterrupt):
            account.work()
    assert steps_of(letter(message_id)) == [("replay", "sending")]
    account.work()
    assert steps_of(letter(message_id)) == [("replay", "sending")]

    ReplayAttempt.objects.update(sending_at=Now() - timedelta(minutes=3))
    done = account.work()

    assert done.unknown == 1
    assert state(letter(message_id)) == State.OUTCOME_UNKNOWN
    assert account.waiting() == []

    decide(LetterAction.MARK_NOT_SENT, letter(message_id))
    replay(letter(message_id))
    account.work()
    assert account.waiting() == ["order"]


def test_failed_delete_after_send_causes_no_second_send(account: Account) -> None:
    [message_id] = account.die("order")
    account.check()
    account.fake.fail_next(1, fakes.client_error("InternalError", 500), call="delete")
    replay(letter(message_id))

    account.work()
    assert steps_of(letter(message_id)) == [("replay", "sent")]
    assert account.dead() == ["order"]

    account.work()
    assert (account.waiting(), account.dead()) == (["order"], [])
    assert steps_of(letter(message_id)) == [("replay", "done")]


def test_killed_between_send_and_delete(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    [message_id] = account.die("order")
    account.check()
    replay(letter(message_id))

    def killed(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sqs, "delete_batch", killed)
        with pytest.raises(KeyboardInterrupt):
            account.work()

    account.clock.pass_by(timedelta(minutes=5))
    account.work()

    assert (account.waiting(), account.dead()) == (["order"], [])


def test_deleted_message_that_reappears_is_deleted_again(account: Account) -> None:
    [message_id] = account.die("order")
    account.check()
    ghost = account.fake.queues[DLQ].messages[message_id]
    replay(letter(message_id))
    account.work()
    account.fake.queues[DLQ].messages[message_id] = ghost
    ghost.visible_at = 0

    account.check()

    assert (account.waiting(), account.dead()) == (["order"], [])
    assert steps_of(letter(message_id)) == [("replay", "done")]


def test_discard_is_stored_then_deleted_and_can_be_replayed_later(account: Account) -> None:
    attribute = {
        "key": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
        "n": {"DataType": "Number", "StringValue": "7"},
    }
    [message_id] = account.die("an emoji 🎉 and a café", MessageAttributes=attribute)
    account.check()

    decide(LetterAction.DISCARD, letter(message_id))
    account.work()
    assert account.dead() == []
    assert state(letter(message_id)) == State.DISCARDED

    decide(LetterAction.RESTORE, letter(message_id))
    replay(letter(message_id))
    done = account.work()

    assert (done.sent, done.waiting) == (1, 0)
    [sent] = account.fake.queues[QUEUE].messages.values()
    assert (sent.body, sent.attributes) == ("an emoji 🎉 and a café", attribute)
    assert steps_of(letter(message_id)) == [("discard", "done"), ("restore", "done"), ("replay", "done")]


def test_worker_reason_attribute_is_not_sent(account: Account) -> None:
    poison = {"opsconsole_reason": {"DataType": "String", "StringValue": "The body is not JSON: x."}}
    [message_id] = account.die("{", MessageAttributes=poison)
    account.check()
    replay(letter(message_id))

    account.work()

    assert next(iter(account.fake.queues[QUEUE].messages.values())).attributes == {}
    assert letter(message_id).group.title == "The body is not JSON: x."


def test_trace_header_survives_a_replay(account: Account) -> None:
    header = {"DataType": "String", "StringValue": "Root=1-67a95f20-0a1b2c3d4e5f60718293a4b5"}
    ids = account.die("held", "copy", MessageSystemAttributes={"AWSTraceHeader": header})
    account.check()
    decide(LetterAction.DISCARD, letter(ids[1]))
    account.work()
    decide(LetterAction.RESTORE, letter(ids[1]))
    replay(*letters(ids))

    account.work()

    sent = account.fake.queues[QUEUE].messages.values()
    assert [message.trace_header for message in sent] == [header["StringValue"]] * 2


def test_returned_letters_are_counted(account: Account) -> None:
    [first] = account.die("order")
    account.check()
    message_id = first
    for returns in (1, 2):
        replay(letter(message_id))
        account.work()
        [again] = account.fake.queues[QUEUE].messages.values()
        del account.fake.queues[QUEUE].messages[again.id]
        account.fake.queues[DLQ].messages[again.id] = again
        account.check()
        assert letter(again.id).returned_from == letter(message_id)
        assert letter(again.id).returns == returns
        message_id = again.id


def test_letter_of_job_that_died_again_counts_as_returned(account: Account) -> None:
    made = job(status=Status.FAILED)
    first = account.die_with(made)
    account.check()
    replay(letter(first))
    dispatcher.dispatch()
    account.work()
    Job.objects.filter(pk=made.pk).update(status=Status.FAILED, run_epoch=4)
    made.refresh_from_db()

    second = account.die_with(made, dead_letter_id="another")
    account.check()

    assert letter(second).returned_from == letter(first)


def test_fifo_copy_keeps_group_deduplication_id_and_order(account: Account) -> None:
    ids = account.die("1", "2", "3", fifo=True, group="customer-1")
    other = account.die("a", fifo=True, group="customer-2")
    account.check(url=next(url for url in account.fake.queues if url.endswith("dlq.fifo")))
    replay(*letters(ids + other))

    account.work()

    sent = list(account.fake.queues[QUEUE.replace("jobs", "orders.fifo")].messages.values())
    assert [each.body for each in sent if each.group_id == "customer-1"] == ["1", "2", "3"]
    assert [each.dedup_id for each in sent if each.group_id == "customer-1"] == ids
    assert account.dead(fifo=True) == []


def test_after_a_failure_nothing_later_of_its_fifo_group_is_sent(account: Account) -> None:
    ids = account.die("1", "2", "3", fifo=True, group="customer-1")
    other = account.die("a", fifo=True, group="customer-2")
    account.check(url=next(url for url in account.fake.queues if url.endswith("dlq.fifo")))
    replay(*letters(ids + other))
    account.fake.entry_fault = lambda body: "passing:InternalError" if body == "2" else None

    account.work()

    assert sorted(account.waiting(fifo=True)) == ["1", "a"]
    assert account.dead(fifo=True) == ["2", "3"]

    account.fake.entry_fault = lambda body: None
    account.work()
    assert account.waiting(fifo=True)[-2:] == ["2", "3"]


def test_letter_deduplicated_by_fifo_is_not_deleted(account: Account) -> None:
    [message_id] = account.die("1", fifo=True)
    account.check(url=next(url for url in account.fake.queues if url.endswith("dlq.fifo")))
    queue = account.fake.queues[QUEUE.replace("jobs", "orders.fifo")]
    queue.deduplicated[message_id] = (1e9, message_id)
    replay(letter(message_id))

    account.work()

    assert account.dead(fifo=True) == ["1"]
    row = letter(message_id).attempts.get()
    assert row.state == "not_done"
    assert "dropped it as a duplicate" in row.outcome


def test_letters_that_arrive_during_group_replay_are_not_sent(account: Account) -> None:
    ids = account.die("one", "two")
    account.check()
    chosen = letters(ids)
    later = account.die("three", "four", "five")

    replay(*chosen)
    account.work()

    assert sorted(account.waiting()) == ["one", "two"]
    assert sorted(account.dead()) == ["five", "four", "three"]
    assert {each.state for each in letters(later)} == {State.IN_QUEUE}


def test_letter_that_left_the_queue_is_not_sent(account: Account) -> None:
    [message_id] = account.die("order")
    account.check()
    replay(letter(message_id))
    account.fake.queues[DLQ].messages.clear()

    for _ in range(3):
        account.work()

    assert account.waiting() == []
    assert state(letter(message_id)) == State.GONE
    assert letter(message_id).attempts.get().outcome == "It left its queue before the console could hold it."


def test_letter_held_by_two_processes_is_sent_once(account: Account) -> None:
    [message_id] = account.die("order")
    account.check()
    made = letter(message_id)
    replay(made)
    row = made.attempts.get()
    parcels = [
        sending.Parcel(attempt=row, letter=made, body="order", attributes={}, system_attributes={})
        for _ in range(2)
    ]

    sent = [sending.send([parcel]).letter_ids for parcel in parcels]

    assert sent == [{made.pk}, set()]
    assert account.waiting() == ["order"]


def test_late_answer_settles_abandoned_intent(account: Account) -> None:
    [message_id] = account.die("order")
    account.check()
    made = letter(message_id)
    replay(made)
    made.attempts.update(state=Step.UNKNOWN, sending_at=Now())
    DeadLetter.objects.update(state=State.OUTCOME_UNKNOWN)

    send_outcomes.settle_sent({made.attempts.get().pk: "m-1"})

    assert (state(made), made.attempts.get().state) == (State.REPLAYING, Step.SENT)


def test_letter_restored_during_deletion_is_sent_as_copy(account: Account) -> None:
    [message_id] = account.die("order")
    account.check()
    made = letter(message_id)
    decide(LetterAction.DISCARD, made)
    decide(LetterAction.RESTORE, made)

    replaying.record_deleted([made])

    assert state(made) == State.KEPT


@pytest.mark.parametrize("process_died", [False, True])
def test_letters_of_a_fifo_group_wait_behind_one_of_unknown_outcome(
    account: Account, process_died: bool
) -> None:
    ids = []
    for body in "1234":
        ids += account.die(body, fifo=True, group="customer-1")
        account.clock.pass_by(timedelta(seconds=1))
    other = account.die("a", fifo=True, group="customer-2")
    account.check(FIFO_DLQ)
    first, doubtful, *later = letters(ids)
    replay(doubtful)
    if process_died:
        doubtful.attempts.update(state=Step.SENDING, sending_at=Now())
    else:
        doubtful.attempts.update(state=Step.UNKNOWN)
        DeadLetter.objects.filter(pk=doubtful.pk).update(state=State.OUTCOME_UNKNOWN)
    replay(first, *later, *letters(other))
    account.work()
    account.work()
    assert sorted(account.waiting(fifo=True)) == ["1", "a"]
    assert steps_of(later[0]) == [("replay", "wanted")]
    assert later[0].attempts.get().outcome.startswith("It waits: nobody knows whether an earlier letter")
    assert fifo_order.waiting_in_words([each.pk for each in later]).startswith(
        "2 dead letters of FIFO groups: it waits"
    )
    if process_died:
        return
    decide(LetterAction.MARK_SENT, doubtful)
    account.work()
    assert account.waiting(fifo=True)[-2:] == ["3", "4"]
    assert state(later[0]) == State.REPLAYED
    assert not fifo_order.waiting_in_words([each.pk for each in later])
