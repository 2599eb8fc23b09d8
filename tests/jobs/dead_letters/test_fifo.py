"""Tests of FIFO dead letter queues over HTTP: SQS shows ten letters of a group, and the console goes round until none is left."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from jobs.dead_letters import check, fifo_order, fulfilment, origins, scan, scan_coverage
from jobs.dead_letters.scan import Budget
from jobs.models import DeadLetter
from opsconsole_worker.environment import QueueConfig
from tests.conftest import TestQueue
from tests.jobs.dead_letters.account import FIFO_DLQ, Account, letters, replay
from tests.operators import Program

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

pytestmark = pytest.mark.django_db

State = DeadLetter.State


@pytest.fixture
def fifo_queue(sqs_client: SQSClient, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestQueue]:
    """Create the queue ``default`` and its dead letter queue, both FIFO; receives do not wait."""
    monkeypatch.setattr(scan, "WAIT_SECONDS", 0)
    name = f"orders-{uuid.uuid4().hex[:12]}"
    url, dlq_url = (
        sqs_client.create_queue(QueueName=f"{name}{kind}.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
        for kind in ("", "-dlq")
    )
    settings.QUEUES = {"default": QueueConfig("default", url, dlq_url)}
    yield TestQueue(url, dlq_url, sqs_client)
    for each in (url, dlq_url):
        sqs_client.delete_queue(QueueUrl=each)


def bury(queue: TestQueue, group: str, count: int) -> list[str]:
    bodies = [f"{group} {number}" for number in range(count)]
    for body in bodies:
        queue.client.send_message(
            QueueUrl=queue.dlq_url, MessageBody=body, MessageGroupId=group, MessageDeduplicationId=body
        )
    return bodies


def received_in_order(queue: TestQueue) -> list[str]:
    """Receive and delete everything in the queue; return the bodies in order."""
    bodies: list[str] = []
    while messages := queue.client.receive_message(QueueUrl=queue.url, MaxNumberOfMessages=10).get(
        "Messages"
    ):
        for message in messages:
            queue.client.delete_message(QueueUrl=queue.url, ReceiptHandle=message["ReceiptHandle"])
            bodies.append(message["Body"])
    return bodies


def test_redrive_replays_what_waits_behind_the_first_ten_of_a_group(fifo_queue: TestQueue) -> None:
    sent = [*bury(fifo_queue, "one", 25), *bury(fifo_queue, "two", 5)]
    out = StringIO()

    call_command("redrive_dlq", "--reason", "the directory is back", stdout=out)

    assert out.getvalue().endswith("     30 replayed\n30 replayed.\n")
    arrived = received_in_order(fifo_queue)
    assert sorted(arrived) == sorted(sent)
    assert [body for body in arrived if body.startswith("one")] == sent[:25]
    assert DeadLetter.objects.filter(state=State.REPLAYED).count() == 30


def test_pages_say_how_many_wait_behind_the_letters_and_what_comes_next(
    fifo_queue: TestQueue, operator: Client
) -> None:
    bury(fifo_queue, "one", 13)
    check.check()
    chosen = "&".join(f"id={pk}" for pk in DeadLetter.objects.values_list("pk", flat=True))
    preview = operator.get(f"/admin/jobs/deadletter/operate/replay/?{chosen}")
    told = "About 3 more in the dead letter queue of default were not seen."
    assert told in preview.text
    assert "manage.py redrive_dlq --queue default" in preview.text
    plan = re.search(r'name="plan" value="([^"]+)"', preview.text)
    assert plan
    done = operator.post("/admin/jobs/deadletter/operate/replay/", {"plan": plan[1], "reason": "mended"})
    assert "10 dead letters" in done.text and told in done.text


def test_check_says_why_it_did_not_see_all(fifo_queue: TestQueue) -> None:
    bury(fifo_queue, "one", 13)

    [checked] = check.check()

    assert "10 of about 13 seen; SQS shows at most the first ten letters of a message group" in str(checked)


def test_previews_say_what_will_wait_behind_a_letter_of_unknown_outcome(
    fifo_queue: TestQueue, operator: Client
) -> None:
    bury(fifo_queue, "one", 3)
    bury(fifo_queue, "two", 1)
    check.check()
    for number, each in enumerate(DeadLetter.objects.order_by("body")):
        # The emulator's numbers are no numbers of a sequence.
        each.system_attributes["SequenceNumber"] = f"{number:020}"
        each.save(update_fields=["system_attributes"])
    first, doubtful, behind = DeadLetter.objects.filter(body__startswith="one").order_by("body")
    [other] = DeadLetter.objects.filter(body__startswith="two")
    replay(doubtful)
    doubtful.attempts.update(state="unknown")
    DeadLetter.objects.filter(pk=doubtful.pk).update(state=State.OUTCOME_UNKNOWN)

    out = StringIO()
    call_command("redrive_dlq", "--dry-run", stdout=out)
    plans = {line.split()[1]: line for line in out.getvalue().splitlines() if line.startswith("replay")}
    chosen = "&".join(f"id={each.pk}" for each in (first, behind, other))
    preview = operator.get(f"/admin/jobs/deadletter/operate/replay/?{chosen}")
    program = Program("letters:read", "letters:operate")
    told = {each.pk: program.get(f"letters/{each.pk}").json()["actions"][0] for each in (first, behind)}
    bulk = operator.post(
        reverse("admin:jobs_failuregroup_bulk", args=[behind.group_id, "replay"]), follow=True
    )

    assert [str(each.pk) for each in (first, behind, other) if fifo_order.WAITS in plans[str(each.pk)]] == [
        str(behind.pk)
    ]
    assert preview.text.count(fifo_order.WAITS) == 1
    assert [told[each.pk]["sentence"].endswith(fifo_order.WAITS) for each in (first, behind)] == [False, True]
    assert "Of 1 dead letter of the FIFO queue default nobody knows whether it was sent" in bulk.text


def test_dry_run_names_what_was_not_seen(fifo_queue: TestQueue) -> None:
    bury(fifo_queue, "one", 13)
    check.check()
    out = StringIO()

    call_command("redrive_dlq", "--dry-run", stdout=out)

    assert "10 dead letters; nothing was changed.\nAbout 3 more in the dead letter queue of default" in (
        out.getvalue()
    )


def test_redrive_fails_when_letters_are_left_behind_undecided_ones(
    fifo_queue: TestQueue, settings: Any
) -> None:
    """Ten letters of another group of failures, which the command does not replay, hide those behind them."""
    bury(fifo_queue, "one", 13)
    check.check()
    group = DeadLetter.objects.order_by("sent_at", "pk")[0].group
    DeadLetter.objects.update(group=type(group).objects.create(fingerprint="other", kind="shape", title="x"))

    with pytest.raises(CommandError, match="About 3 more in the dead letter queue of default were not seen"):
        call_command("redrive_dlq", "--group", group.fingerprint, "--reason", "x", stdout=StringIO())

    assert received_in_order(fifo_queue) == []


def test_visit_goes_on_behind_letters_that_left(fifo_queue: TestQueue) -> None:
    """The visit that replays the first letters also stores those behind them, and keeps to undecided ones."""
    bury(fifo_queue, "one", 23)
    check.check()
    first = list(DeadLetter.objects.order_by("sent_at", "pk"))
    replay(*first[:5])

    turn = fulfilment.work(Budget(seconds=20))

    assert (turn.sent, turn.deleted) == (5, 5)
    assert DeadLetter.objects.count() == 15
    [dlq] = origins.configured()
    assert (dlq.seen, dlq.about) == (15, 23)


def test_letter_behind_a_failed_one_waits_in_the_next_round(account: Account) -> None:
    """A round never sends past a letter of the group that failed in an earlier round of the same visit."""
    ids = account.die(*(str(number) for number in range(12)), fifo=True)
    messages = account.fake.queues[FIFO_DLQ].messages
    for message_id in ids:
        messages[message_id].group_id = message_id
    account.check(FIFO_DLQ)
    replay(*letters(ids))
    for message_id in ids:
        messages[message_id].group_id = "g"
    account.fake.entry_fault = lambda body: "passing:InternalError" if body == "5" else None

    account.work()

    assert account.waiting(fifo=True) == ["0", "1", "2", "3", "4"]
    account.fake.entry_fault = lambda body: None
    account.work()
    assert account.waiting(fifo=True) == [str(number) for number in range(12)]


def test_scan_of_fifo_queue_ends_without_progress(account: Account) -> None:
    account.die(*(f"{number}" for number in range(30)), fifo=True)

    checked = account.check(FIFO_DLQ)

    assert checked.visited.seen == 10
    assert account.fake.hidden(FIFO_DLQ) == 0
    assert scan_coverage.unseen(checked.dlq) == 20
