"""Tests of dead letter queues that left the settings: their letters are replayed from the copies, and their alerts end."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from alerts.models import Alert, Gauge, Monitor, Notification
from alerts.watch import monitor_alerts
from jobs import tasks
from jobs.dead_letters import check, scan, scan_coverage
from jobs.letter_ledger.entries import LetterAction
from jobs.messaging.dispatcher import dispatch
from jobs.models import DeadLetter, Status
from opsconsole_worker.environment import QueueConfig
from tests.conftest import TestQueue
from tests.factories import job
from tests.fakes import sqs as fakes
from tests.jobs.dead_letters.account import (
    DLQ,
    HOST,
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
NEW_DLQ = f"{HOST}/jobs-dlq-2"


@pytest.fixture
def replaced(account: Account, settings: Any) -> Any:
    """Return a function that lets the queue ``default`` use another dead letter queue."""

    def replace() -> None:
        account.fake.create(NEW_DLQ)
        settings.QUEUES = {"default": QueueConfig("default", QUEUE, NEW_DLQ)}

    return replace


def test_letters_of_a_replaced_queue_are_replayed_over_http(
    sqs_queue: TestQueue, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "WAIT_SECONDS", 0)
    sqs_queue.client.send_message(
        QueueUrl=sqs_queue.dlq_url,
        MessageBody="order 1",
        MessageAttributes={"tenant": {"DataType": "String", "StringValue": "blue"}},
    )
    check.check()
    other = sqs_queue.client.create_queue(QueueName=sqs_queue.dlq_url.rpartition("/")[2] + "-2")["QueueUrl"]
    settings.QUEUES = {"default": QueueConfig("default", sqs_queue.url, other)}

    [outcome] = replay(DeadLetter.objects.get())
    tasks.work_dead_letters()

    assert outcome.done
    [message] = sqs_queue.client.receive_message(QueueUrl=sqs_queue.url, MessageAttributeNames=["All"])[
        "Messages"
    ]
    assert (message["Body"], message["MessageAttributes"]["tenant"]["StringValue"]) == ("order 1", "blue")
    assert DeadLetter.objects.get().state == State.REPLAYED
    sqs_queue.client.delete_queue(QueueUrl=other)


def test_undecided_letter_is_kept_as_a_copy(account: Account, replaced: Any) -> None:
    [message_id] = account.die("order")
    account.check()
    replaced()

    check.check()

    assert state(letter(message_id)) == State.KEPT


def test_requests_that_waited_for_the_message_are_settled(account: Account, replaced: Any) -> None:
    replayed, discarded, undeleted = account.die("replayed", "discarded", "undeleted")
    account.check()
    account.fake.fail_next(9, fakes.client_error("InternalError", 500), call="delete")
    replay(letter(undeleted))
    account.work()
    account.fake.heal()
    replay(letter(replayed))
    decide(LetterAction.DISCARD, letter(discarded))
    replaced()

    account.work()

    assert [state(each) for each in letters([replayed, discarded, undeleted])] == [
        State.REPLAYED,
        State.DISCARDED,
        State.REPLAYED,
    ]
    assert sorted(account.waiting()) == ["replayed", "undeleted"]
    assert steps_of(letter(replayed)) == [("replay", "not_done"), ("replay", "done")]
    assert [step for _, step in steps_of(letter(discarded))] == ["done"]
    waited = letter(replayed).attempts.first()
    assert waited is not None
    assert waited.outcome.startswith("Its dead letter queue was removed from the settings.")


def test_letter_of_a_job_is_settled_when_its_job_was_requeued(account: Account, replaced: Any) -> None:
    message_id = account.die_with(job(status=Status.FAILED))
    account.check()
    replay(letter(message_id))
    replaced()

    dispatch()
    account.work()
    account.work()

    assert state(letter(message_id)) == State.REPLAYED


def test_unknown_outcome_waits_for_a_person(account: Account, replaced: Any) -> None:
    [message_id] = account.die("order")
    account.check()
    replay(letter(message_id))
    account.fake.drop_answers(1, call="send")
    account.work()
    replaced()

    account.work()
    assert state(letter(message_id)) == State.OUTCOME_UNKNOWN
    decide(LetterAction.MARK_NOT_SENT, letter(message_id))
    account.work()

    assert state(letter(message_id)) == State.KEPT


def test_letters_are_in_the_queue_again_when_it_is_configured_again(
    account: Account, replaced: Any, settings: Any
) -> None:
    [message_id] = account.die("order")
    account.check()
    before = dict(settings.QUEUES)
    replaced()
    check.check()
    settings.QUEUES = before

    check.check()

    assert state(letter(message_id)) == State.IN_QUEUE


def test_alerts_and_monitors_of_a_removed_queue_end(account: Account, settings: Any) -> None:
    account.die("order", fifo=True)
    check.check()
    Alert.objects.create(
        fingerprint="dead_letters_expiring:orders",
        rule="dead_letters_expiring",
        severity="critical",
        title="x",
    )
    monitor = monitor_alerts.of_queue("orders")
    Monitor.objects.filter(pk=monitor).update(last_ok_at=Now() - timedelta(days=1))
    monitor_alerts.judge()
    assert Alert.objects.open().count() == 3
    settings.QUEUES = {name: queue for name, queue in settings.QUEUES.items() if name != "orders"}

    check.check()

    assert not Alert.objects.open().exists()
    ends = Notification.objects.filter(kind=Notification.Kind.RESOLVED).values_list("news", flat=True)
    assert set(ends) == {"Its dead letter queue was removed from the settings."}
    assert not Monitor.objects.filter(pk=monitor).exists()
    assert Monitor.objects.filter(pk=monitor_alerts.of_queue("default")).exists()
    assert not Gauge.objects.filter(fingerprint__endswith=":orders").exists()


def test_alert_of_a_queue_that_has_another_name_ends(account: Account, settings: Any) -> None:
    account.die("order")
    check.check()
    settings.QUEUES = {"default": QueueConfig("default", QUEUE, DLQ), "slow": QueueConfig("slow", HOST, DLQ)}

    check.check()

    names = set(Alert.objects.open().values_list("fingerprint", flat=True))
    assert names == {"dlq_not_empty:default+slow"}


def test_pages_say_that_the_queue_was_removed(account: Account, replaced: Any, operator: Client) -> None:
    [message_id] = account.die("order")
    account.check()
    replaced()
    check.check()

    page = operator.get(
        reverse("admin:jobs_deadletter_change", args=[letter(message_id).pk])
    ).content.decode()
    listed = operator.get(reverse("admin:jobs_deadletter_changelist")).content.decode()
    preview = operator.post(
        reverse("admin:jobs_deadletter_changelist"),
        {"action": "replay_selected", "_selected_action": str(letter(message_id).pk)},
    ).content.decode()

    assert "default (removed from the settings)" in page
    assert "default (removed from the settings)" in listed
    assert (
        "Its dead letter queue was removed from the settings: if it still exists, delete the message"
        in preview
    )
    assert scan_coverage.unseen_in_words(letter(message_id).dlq) == ""
