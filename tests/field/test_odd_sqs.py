"""Commands against an SQS whose answers are not about what was asked: nothing is lost, nothing twice, and no text is untrue."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from jobs.models import DeadLetter, DeadLetterQueue, Outbox, ReplayAttempt
from tests.conftest import TestQueue
from tests.factories import failure_group, job, letter
from tests.field.sqs_gate import Gate, gate
from tests.programs import program
from tests.repository import REPOSITORY
from tests.serving import database_url
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

Answer = dict[str, Any]
JOBS = 23
LETTERS = 13


@dataclass(frozen=True)
class Ended:
    """The exit code and the output of a command."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def door(sqs_queue: TestQueue, settings: Any) -> Iterator[Gate]:
    with gate(sqs_queue.client.meta.endpoint_url) as opened:
        settings.AWS_ENDPOINT_URL = opened.address
        yield opened


def run(*arguments: str) -> Ended:
    """Run a command to its end, in this process: only those that are killed need one of their own."""
    output, errors = StringIO(), StringIO()
    try:
        call_command(*arguments, stdout=output, stderr=errors)
    except CommandError as error:
        return Ended(error.returncode, output.getvalue(), f"{errors.getvalue()}{error}")
    return Ended(0, output.getvalue(), errors.getvalue())


def started(door: Gate, queue: TestQueue, *arguments: str) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """Run a command as a process of its own, beside the test."""
    reached = {
        "DATABASE_URL": database_url(),
        "AWS_ENDPOINT_URL": door.address,
        "SQS_QUEUE_URL": queue.url,
        "SQS_DLQ_URL": queue.dlq_url,
    }
    command = [sys.executable, "manage.py", *arguments]
    return program(command, cwd=REPOSITORY, env=os.environ | reached, stdout=subprocess.DEVNULL)


def only(action: str, change: Callable[[Answer], Answer]) -> Callable[[str, Answer], Answer]:
    return lambda asked, answer: change(answer) if asked == action else answer


def with_each(change: Callable[[Answer], Answer]) -> Callable[[Answer], Answer]:
    return lambda answer: answer | {"Successful": [change(each) for each in answer.get("Successful", [])]}


BATCHES: dict[str, Callable[[Answer], Answer]] = {
    "not mentioned": lambda _answer: {"Successful": []},
    "of others": with_each(lambda each: each | {"Id": f"-{each['Id']}"}),
    "twice": lambda answer: {"Successful": answer["Successful"] * 2},
    "sent and failed": lambda answer: (
        answer
        | {
            "Failed": [
                {"Id": each["Id"], "Code": "InternalError", "SenderFault": False}
                for each in answer["Successful"]
            ]
        }
    ),
    "damaged": with_each(lambda each: each | {"MD5OfMessageBody": "0" * 32}),
    "without an id": with_each(lambda each: each | {"MessageId": ""}),
}


@pytest.mark.parametrize("oddity", BATCHES)
def test_messages_are_sent_until_an_answer_is_about_them(
    door: Gate, sqs_queue: TestQueue, oddity: str
) -> None:
    sent = {str(letter(job()).job_id) for _ in range(JOBS)}
    door.changed = only("SendMessageBatch", BATCHES[oddity])

    once = run("dispatch_outbox", "--json")
    assert once.returncode == 1, once.stderr
    assert json.loads(once.stdout)["sent"] == 0
    assert set(Outbox.objects.values_list("state", "message_id")) == {("waiting", "")}
    said = set(Outbox.objects.values_list("last_error", flat=True))
    assert all("may have been sent" in each or "does not answer like SQS" in each for each in said), said

    # One that is killed while it waits for an answer leaves its messages to the next.
    Outbox.objects.update(available_at=timezone.now())
    stuck = threading.Event()
    asked: list[str] = []

    def hang(action: str, answer: Answer) -> Answer:
        asked.append(action)
        stuck.wait(60)
        return answer

    door.changed = hang
    with started(door, sqs_queue, "dispatch_outbox") as dispatcher:
        wait_until(lambda: bool(asked), 60)
        dispatcher.kill()
    stuck.set()

    door.changed = lambda _action, answer: answer
    Outbox.objects.update(available_at=timezone.now())
    last = run("dispatch_outbox", "--json")
    assert last.returncode == 0, last.stderr
    assert set(Outbox.objects.values_list("state", flat=True)) == {"sent"}
    assert {json.loads(body)["job_id"] for body in sqs_queue.bodies()} == sent


def bury(queue: TestQueue) -> set[str]:
    return {
        queue.client.send_message(QueueUrl=queue.dlq_url, MessageBody=json.dumps({"their": number}))[
            "MessageId"
        ]
        for number in range(LETTERS)
    }


def test_letters_are_stored_once_and_counts_that_are_none_are_unknown(
    door: Gate, sqs_queue: TestQueue
) -> None:
    buried = bury(sqs_queue)

    def odd(action: str, answer: Answer) -> Answer:
        match action:
            case "ReceiveMessage":
                return {"Messages": answer.get("Messages", []) * 3}
            case "GetQueueAttributes":
                return {"Attributes": answer["Attributes"] | {"ApproximateNumberOfMessages": "-4"}}
            case _:
                return answer

    door.changed = odd
    unknown = run("check_dlq", "--json")
    assert unknown.returncode != 0
    [told] = json.loads(unknown.stdout)
    assert told["dead_letters"] != 0 and "does not answer like SQS" in told["problem"]

    door.changed = only("ReceiveMessage", lambda answer: {"Messages": answer.get("Messages", []) * 3})
    for _ in range(2):
        run("check_dlq")
    assert sorted(DeadLetter.objects.values_list("message_id", flat=True)) == sorted(buried)


def test_redrive_ends_with_1_while_nobody_knows_whether_letters_were_sent(
    door: Gate, sqs_queue: TestQueue
) -> None:
    bury(sqs_queue)
    door.changed = only("SendMessageBatch", BATCHES["not mentioned"])
    first = run("redrive_dlq", "--reason", "the answer is lost")
    assert first.returncode == 1, first.stderr
    assert set(DeadLetter.objects.values_list("state", flat=True)) == {"outcome_unknown"}

    door.changed = lambda _action, answer: answer
    again = run("redrive_dlq", "--reason", "once more")
    preview = run("redrive_dlq", "--dry-run", "--json")
    of_another = run("redrive_dlq", "--reason", "x", "--group", str(failure_group().pk))

    assert again.returncode == 1, again.stdout
    for said in (first.stderr, again.stderr, " ".join(json.loads(preview.stdout)["left"])):
        assert f"{LETTERS} dead letters of unknown outcome. Nobody knows whether they were sent" in said
        assert "mark each as sent or as not sent on its page" in said and "and 10 more." in said
    assert of_another.returncode == 0, of_another.stderr
    assert len(sqs_queue.bodies()) == LETTERS


def show_again(queue: TestQueue, handles: list[str]) -> None:
    """Let the time pass for which a process that died keeps its messages, its scan and its intents."""
    for handle in handles:
        with suppress(queue.client.exceptions.ClientError):
            queue.client.change_message_visibility(
                QueueUrl=queue.dlq_url, ReceiptHandle=handle, VisibilityTimeout=0
            )
    DeadLetterQueue.objects.update(scanning_until=None)
    ReplayAttempt.objects.filter(state="sending").update(sending_at=timezone.now() - timedelta(hours=1))


@pytest.mark.parametrize(
    "stage", ["GetQueueAttributes", "ReceiveMessage", "SendMessageBatch", "DeleteMessageBatch"]
)
@pytest.mark.parametrize("oddity", ["none", "not mentioned"])
def test_redrive_that_is_killed_loses_nothing_and_sends_nothing_twice(
    door: Gate, sqs_queue: TestQueue, stage: str, oddity: str
) -> None:
    bury(sqs_queue)
    stuck, reached = threading.Event(), threading.Event()
    handles: list[str] = []

    def hang(action: str, answer: Answer) -> Answer:
        handles.extend(each["ReceiptHandle"] for each in answer.get("Messages", []))
        if action == stage:
            reached.set()
            stuck.wait(60)
        return answer

    door.changed = hang
    with started(door, sqs_queue, "redrive_dlq", "--reason", "it is mended") as redriving:
        wait_until(reached.is_set, 60)
        redriving.kill()
    stuck.set()

    def odd(action: str, answer: Answer) -> Answer:
        handles.extend(each["ReceiptHandle"] for each in answer.get("Messages", []))
        return {"Successful": []} if oddity == "not mentioned" and action == "DeleteMessageBatch" else answer

    door.changed = odd
    show_again(sqs_queue, handles)
    run("redrive_dlq", "--reason", "once more")
    door.changed = lambda _action, answer: answer
    show_again(sqs_queue, handles)
    last = run("redrive_dlq", "--reason", "and again")

    arrived = [json.loads(body)["their"] for body in sqs_queue.bodies()]
    doubtful = DeadLetter.objects.filter(state="outcome_unknown")
    in_doubt = {json.loads(body)["their"] for body in doubtful.values_list("body", flat=True)}
    assert len(arrived) == len(set(arrived))
    assert set(arrived) | in_doubt == set(range(LETTERS))
    assert last.returncode == (1 if in_doubt else 0), last.stderr
    assert bool(in_doubt) == (stage == "SendMessageBatch")
