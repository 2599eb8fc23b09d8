"""Tests of messages that EventBridge, SNS or Lambda could not deliver: their reason, their job and where a replay goes."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from django.urls import reverse

from jobs import tasks
from jobs.dead_letters import check, envelopes, operations, scan, undelivered
from jobs.dead_letters.affected_customers import affected_by
from jobs.letter_ledger import settlement
from jobs.letter_ledger.entries import LetterAction
from jobs.models import DeadLetter, FailureGroup, Job, Status
from opsconsole.kit import env
from opsconsole_worker.environment import QueueConfig
from tests.conftest import TestQueue
from tests.factories import dead_letter, job
from tests.jobs.dead_letters.account import OLGA, Account, letter, replay

pytestmark = pytest.mark.django_db

State = DeadLetter.State
JOB = UUID("8d4e07b1-3c56-4f0a-9b7d-52c0f1ae6d13")
REGION = "arn:aws:sqs:us-east-1:123456789012"
RULE = "arn:aws:events:us-east-1:123456789012:rule/orders"
TOPIC = "arn:aws:sns:us-east-1:123456789012:orders"
FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:notify"


def event(**detail: Any) -> dict[str, Any]:
    return {"version": "0", "id": str(uuid4()), "detail-type": "order", "source": "shop", "detail": detail}


def notification(message: Any) -> dict[str, Any]:
    text = message if isinstance(message, str) else json.dumps(message)
    return {"Type": "Notification", "MessageId": str(uuid4()), "TopicArn": TOPIC, "Message": text}


def bury(queue: TestQueue, document: Any, **attributes: str) -> DeadLetter:
    """Send a message to the dead letter queue over HTTP, as another service does, and scan it."""
    sent = queue.client.send_message(
        QueueUrl=queue.dlq_url,
        MessageBody=json.dumps(document),
        MessageAttributes={
            name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
        },
    )
    check.check()
    return DeadLetter.objects.get(message_id=sent["MessageId"])


def of_eventbridge(target: str, code: str = "NO_PERMISSIONS", **more: str) -> dict[str, str]:
    return {
        "RULE_ARN": RULE,
        "TARGET_ARN": target,
        "ERROR_CODE": code,
        "ERROR_MESSAGE": "Lack of access.",
    } | more


def arn_of(queue: TestQueue) -> str:
    return f"{REGION}:{queue.url.rpartition('/')[2]}"


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "WAIT_SECONDS", 0)


def test_event_is_grouped_by_its_reason_and_target_and_sent_to_its_target(
    sqs_queue: TestQueue, settings: Any
) -> None:
    other = sqs_queue.client.create_queue(QueueName=f"other-{uuid4().hex[:8]}")["QueueUrl"]
    settings.QUEUES |= {"other": QueueConfig("other", other, None)}
    target = f"{REGION}:{other.rpartition('/')[2]}"
    made = bury(sqs_queue, event(order=1), **of_eventbridge(target, tenant="blue"))
    same = bury(sqs_queue, event(order=2), **of_eventbridge(target))
    throttled = bury(sqs_queue, event(order=3), **of_eventbridge(target, "THROTTLING"))
    elsewhere = bury(sqs_queue, event(order=4), **of_eventbridge(FUNCTION))

    assert made.group == same.group
    assert len({made.group_id, throttled.group_id, elsewhere.group_id}) == 3
    assert made.group.kind == FailureGroup.Kind.NOT_DELIVERED
    assert made.group.title.startswith("NO_PERMISSIONS: Lack of access. (EventBridge rule/orders to other-")
    assert (made.queue, made.addressee) == ("other", target)

    [outcome] = replay(made)
    tasks.work_dead_letters()

    assert outcome.done
    assert sqs_queue.bodies() == []
    [sent] = sqs_queue.client.receive_message(QueueUrl=other, MessageAttributeNames=["All"])["Messages"]
    assert json.loads(sent["Body"])["detail"] == {"order": 1}
    assert list(sent["MessageAttributes"]) == ["tenant"]
    sqs_queue.client.delete_queue(QueueUrl=other)


def test_schedule_is_read_like_a_rule(sqs_queue: TestQueue) -> None:
    schedule = "arn:aws:scheduler:us-east-1:123456789012:schedule/default/nightly"
    attributes = of_eventbridge(arn_of(sqs_queue), tenant="blue")
    del attributes["RULE_ARN"]
    made = bury(sqs_queue, {"order": 1}, SCHEDULE_ARN=schedule, **attributes)
    other = bury(sqs_queue, {"order": 2}, SCHEDULE_ARN=f"{schedule}-2", **attributes)

    assert "(EventBridge schedule/default/nightly to jobs-" in made.group.title
    assert made.group_id != other.group_id

    replay(made)
    tasks.work_dead_letters()

    [sent] = sqs_queue.client.receive_message(QueueUrl=sqs_queue.url, MessageAttributeNames=["All"])[
        "Messages"
    ]
    assert list(sent["MessageAttributes"]) == ["tenant"]


@pytest.mark.parametrize(
    ("document", "attributes", "sentence"),
    [
        (
            event(order=1),
            of_eventbridge(FUNCTION),
            "It was on its way to a target (see “Not delivered to” on its page), which is no queue of the console: send it there",
        ),
        (
            event(order=1),
            of_eventbridge(f"{REGION}:theirs"),
            "It was on its way to a target (see “Not delivered to” on its page), which is no queue of the console",
        ),
        (notification("hello"), {}, "SNS could not deliver it to a subscriber of a topic"),
        (
            {"order": 1},
            {"RequestID": "1", "ErrorCode": "200", "ErrorMessage": "boom"},
            "A Lambda function could not process it, and the message does not say which",
        ),
    ],
    ids=["a function", "their queue", "SNS", "Lambda"],
)
def test_letter_with_no_queue_of_ours_is_refused_with_a_sentence(
    sqs_queue: TestQueue,
    operator: Client,
    document: Any,
    attributes: dict[str, str],
    sentence: str,
) -> None:
    made = bury(sqs_queue, document, **attributes)

    [outcome] = replay(made)
    page = operator.get(reverse("admin:jobs_deadletter_change", args=[made.pk])).content.decode()

    assert not outcome.done
    assert outcome.sentence.startswith(sentence)
    assert made.queue == ""
    assert "Not delivered to" in page
    assert sentence in page
    assert sqs_queue.bodies() == []


@pytest.mark.parametrize(
    "enveloped",
    [
        lambda job_id: event(job_id=job_id),
        lambda job_id: event(jobId=job_id, run_epoch=1),
        lambda job_id: notification({"job_id": job_id}),
        lambda job_id: notification(event(job_id=job_id)),
        lambda job_id: {"jobId": job_id},
        lambda job_id: {"requestPayload": {"job_id": job_id}},
        lambda job_id: {"Records": [{"Sns": notification({"job_id": job_id})}]},
        lambda job_id: {"Records": [{"body": json.dumps({"job_id": job_id})}]},
        lambda job_id: {"requestPayload": {"Records": [{"body": json.dumps(event(job_id=job_id))}]}},
    ],
    ids=[
        "event",
        "jobId in an event",
        "SNS",
        "event in SNS",
        "jobId",
        "destination of Lambda",
        "SNS to Lambda",
        "SQS to Lambda",
        "event in SQS to a destination of Lambda",
    ],
)
def test_job_in_an_envelope_is_requeued(sqs_queue: TestQueue, enveloped: Any) -> None:
    made = job(status=Status.FAILED, error_message="KeyError: 'x'")
    dead = bury(sqs_queue, enveloped(str(made.pk)))

    [outcome] = replay(dead)

    assert dead.job_id == made.pk
    assert outcome.done
    assert Job.objects.get(pk=made.pk).run_epoch == made.run_epoch + 1


def test_job_is_found_where_the_setting_says(sqs_queue: TestQueue, settings: Any) -> None:
    settings.OPSCONSOLE_JOB_ID_PATHS = ["$.order.work[0].id"]
    made = job(status=Status.FAILED)

    dead = bury(sqs_queue, notification({"order": {"work": [{"id": str(made.pk)}]}}))

    assert dead.job_id == made.pk


@pytest.mark.parametrize(
    ("document", "found"),
    [
        ({"job_id": str(JOB)}, JOB),
        ({"job_id": "17", "jobId": str(JOB)}, JOB),
        ({"job_id": 17}, None),
        ({"detail": "text"}, None),
        ({"detail": json.dumps({"job_id": str(JOB)})}, JOB),
        ({"Message": "[" * 5_000}, None),
        ({"Message": {"Message": {"Message": {"Message": {"job_id": str(JOB)}}}}}, None),
        ([{"job_id": str(JOB)}], None),
        ({"Records": [{"body": {"job_id": str(JOB)}}, {"body": {"job_id": str(uuid4())}}]}, None),
        ({"Records": ["text"]}, None),
        ({"Records": {"body": {"job_id": str(JOB)}}}, None),
        (None, None),
    ],
)
def test_places_of_the_job_id(document: Any, found: UUID | None) -> None:
    run = envelopes.run_in(document)
    assert (run.job_id if run else None) == found


@pytest.mark.parametrize(("epoch", "read"), [(3, 3), (0, None), (True, None), ("3", None), (2**40, None)])
def test_run_in_an_envelope(epoch: Any, read: int | None) -> None:
    run = envelopes.run_in(event(job_id=str(JOB), run_epoch=epoch))
    assert run is not None
    assert run.run_epoch == read


def test_envelope_with_a_deep_document_names_no_job() -> None:
    """Paths that search every level would exhaust the recursion of their reader."""
    document = {"Message": '{"x": ' * 900 + "1" + "}" * 900}

    assert envelopes.run_in(document, ["$..order_id"]) is None


@pytest.mark.parametrize("value", ["$", "order.job", "$.a, $[", "$.a, job"])
def test_setting_refuses_what_is_no_path_to_an_id(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPSCONSOLE_JOB_ID_PATHS", value)
    with pytest.raises(ImproperlyConfigured, match="OPSCONSOLE_JOB_ID_PATHS must be JSON paths"):
        env.job_id_paths("OPSCONSOLE_JOB_ID_PATHS")


def test_setting_accepts_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPSCONSOLE_JOB_ID_PATHS", "$.order.job, $['work'][0].id")
    assert env.job_id_paths("OPSCONSOLE_JOB_ID_PATHS") == ["$.order.job", "$['work'][0].id"]


def test_message_to_others_that_mentions_a_job_stays_when_the_job_is_requeued(sqs_queue: TestQueue) -> None:
    """An event to a function of theirs is no message of the job: a requeue must not delete it."""
    made = job(status=Status.FAILED)
    dead = bury(sqs_queue, event(job_id=str(made.pk)), **of_eventbridge(FUNCTION))

    [outcome] = replay(dead)
    followed = settlement.follow_requeues({made.pk: made.run_epoch + 1}, OLGA, "x")

    assert not outcome.done
    assert outcome.sentence.endswith("If its job should run again, requeue it on its page.")
    assert followed == 0
    dead.refresh_from_db()
    assert dead.state == State.IN_QUEUE
    assert affected_by(dead.dlq) is None


@pytest.mark.parametrize(
    ("addressee", "queue", "to_others"),
    [
        ("", "", False),
        ("", "default", False),
        (TOPIC, "", False),
        (FUNCTION, "", True),
        (undelivered.LAMBDA, "", True),
        (f"{REGION}:jobs", "default", False),
    ],
)
def test_messages_to_others_are_the_same_in_sql(addressee: str, queue: str, *, to_others: bool) -> None:
    made = dead_letter(addressee=addressee, queue=queue)

    assert made.is_to_others == to_others
    assert DeadLetter.objects.replaced_by_requeue().exists() != to_others


def test_message_that_sqs_moved_keeps_its_source_whatever_its_attributes_say(account: Account) -> None:
    """The attributes of an earlier failure are no reason of this one."""
    attributes = {"ERROR_CODE": {"DataType": "String", "StringValue": "NO_PERMISSIONS"}}
    [message_id] = account.die('{"order": 1}', MessageAttributes=attributes)
    account.check()

    made = letter(message_id)
    assert (made.queue, made.addressee, made.group.kind) == ("default", "", FailureGroup.Kind.SHAPE)


def test_redacted_attributes_are_not_in_the_title(sqs_queue: TestQueue, settings: Any) -> None:
    settings.OPSCONSOLE_REDACT_PATHS = ["$.ERROR_MESSAGE"]

    made = bury(sqs_queue, event(order=1), **of_eventbridge(arn_of(sqs_queue)))

    assert made.group.title.startswith("NO_PERMISSIONS: [redacted] (EventBridge rule/orders to jobs-")
    assert made.queue == "default"


@pytest.mark.parametrize(
    ("attributes", "service"),
    [
        ({"tenant": "blue"}, None),
        ({"ErrorCode": "7", "ErrorMessage": "theirs"}, None),
        ({"ERROR_CODE": "NO_PERMISSIONS"}, "EventBridge"),
        ({"RequestID": "1", "ErrorCode": "403"}, "Lambda"),
    ],
)
def test_which_attributes_are_of_a_service(attributes: dict[str, str], service: str | None) -> None:
    read = undelivered.read(attributes, {"order": 1})
    assert (read.service if read else None) == service


def test_letter_of_a_worker_is_no_failed_delivery(sqs_queue: TestQueue) -> None:
    """A worker that could not read a notification of SNS has received it from its queue."""
    made = bury(sqs_queue, notification("hello"), opsconsole_reason="job_id is missing.")

    assert (made.queue, made.addressee, made.group.title) == ("default", "", "job_id is missing.")
    plan = operations.plan(LetterAction.REPLAY, [made.pk])
    assert plan[0].will
