"""Amazon SQS: the only package that knows boto3, and what the vendor's failures mean.

Each function raises a ``QueueError`` and nothing else of the vendor's: ``QueueUnavailable`` (try again),
``QueueThrottled`` (try again, slower), ``QueueMisconfigured`` (a person must act) or ``MessageRefused`` (this
message, or this receipt handle, will never be taken as it is).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit
from uuid import uuid4

import boto3
from botocore.config import Config
from django.conf import settings

from jobs.sqs.failures import (
    NEEDS_A_PERSON,
    THROTTLED,
    MessageRefused,
    QueueError,
    QueueMisconfigured,
    QueueThrottled,
    QueueUnavailable,
    QueueUnreachable,
    check_answer,
    detail,
    short_code,
    vendor_errors,
)
from jobs.sqs.messages import (
    BATCH_BYTES,
    BATCH_ENTRIES,
    Attribute,
    Outgoing,
    QueueDepth,
    Received,
    SendResult,
    split_batches,
)

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient
    from types_boto3_sqs.type_defs import (
        MessageAttributeValueTypeDef,
        MessageTypeDef,
        SendMessageBatchRequestEntryTypeDef,
    )

__all__ = [
    "BATCH_BYTES",
    "BATCH_ENTRIES",
    "Attribute",
    "MessageRefused",
    "Outgoing",
    "QueueDepth",
    "QueueError",
    "QueueMisconfigured",
    "QueueThrottled",
    "QueueUnavailable",
    "QueueUnreachable",
    "Received",
    "SendResult",
    "client_for",
    "console_link",
    "delete",
    "delete_batch",
    "depth",
    "receive",
    "release",
    "release_batch",
    "send_batch",
    "send_raw",
    "split_batches",
]

LONGEST_DELAY_SECONDS = 900
LONGEST_POLL_SECONDS = 20
# SQS hides a message for 12 hours from its receipt at most; the margin is for the time since then.
LONGEST_VISIBILITY_SECONDS = 43_200 - 600

CONFIG = Config(
    connect_timeout=3,
    read_timeout=LONGEST_POLL_SECONDS + 5,
    retries={"mode": "standard", "total_max_attempts": 2},
    max_pool_connections=16,
)
# For what must not be sent twice unknown to us.
ONCE = Config(retries={"mode": "standard", "total_max_attempts": 1})
AWS_HOST = re.compile(r"\b([a-z]{2,4}(?:-[a-z]+)+-\d+)\..*(?:amazonaws\.(?:com|com\.cn|eu)|api\.aws)$")


def send_batch(queue_url: str, entries: Sequence[Outgoing], *, once: bool = False) -> list[SendResult]:
    """Send at most ten messages of 1 MiB in all (``split_batches``) in one call; a result for each, in order.

    ``once``: boto3 itself tries nothing twice. Raises ``QueueError`` when the call as a whole failed; after
    ``QueueUnavailable`` some may have been sent, but, with ``once``, for ``QueueUnreachable`` and ``QueueThrottled``.
    """
    if not entries:
        return []
    request = [_entry(queue_url, str(number), entry) for number, entry in enumerate(entries)]
    try:
        with vendor_errors(queue_url):
            client = client_for(queue_url, once=True) if once else client_for(queue_url)
            answer = client.send_message_batch(QueueUrl=queue_url, Entries=request)
            sent = {item["Id"]: item["MessageId"] for item in answer.get("Successful", [])}
            failed = {item["Id"]: item for item in answer.get("Failed", [])}
    except MessageRefused as refusal:
        return _send_apart(queue_url, entries, refusal, once=once)
    return [
        SendResult(entry.key, sent[item["Id"]])
        if item["Id"] in sent
        else _failed(entry, failed.get(item["Id"]))
        for item, entry in zip(request, entries, strict=True)
    ]


def _send_apart(
    queue_url: str, entries: Sequence[Outgoing], refusal: MessageRefused, *, once: bool
) -> list[SendResult]:
    """Some queues refuse a whole batch for one bad entry: alone, it takes no other one down."""
    if len(entries) == 1:
        return [SendResult(entries[0].key, error=str(refusal), permanent=True)]
    return [result for entry in entries for result in send_batch(queue_url, [entry], once=once)]


def _failed(entry: Outgoing, failure: Mapping[str, Any] | None) -> SendResult:
    if failure is None:
        error = "The answer does not mention the message: it may have been sent."
        return SendResult(entry.key, error=error, unknown=True)
    code = short_code(str(failure.get("Code", "")))
    # Throttling and missing rights count as the sender's fault too, but they pass without changing the message.
    permanent = bool(failure.get("SenderFault")) and code not in THROTTLED | NEEDS_A_PERSON
    return SendResult(entry.key, error=detail(code, str(failure.get("Message", ""))), permanent=permanent)


def send_raw(queue_url: str, body: str, attributes: Mapping[str, Attribute] | None = None) -> str:
    """Send a body as it is, such as a poison message to a DLQ. Returns the message id, raises ``QueueError``."""
    entry = _entry(queue_url, "0", Outgoing(key=uuid4().hex, body=body, attributes=attributes or {}))
    fields: Any = {name: value for name, value in entry.items() if name != "Id"}
    with vendor_errors(queue_url):
        return client_for(queue_url).send_message(QueueUrl=queue_url, **fields)["MessageId"]


def _entry(queue_url: str, number: str, outgoing: Outgoing) -> SendMessageBatchRequestEntryTypeDef:
    entry: SendMessageBatchRequestEntryTypeDef = {"Id": number, "MessageBody": outgoing.body}
    if urlsplit(queue_url).path.endswith(".fifo"):
        entry["MessageGroupId"] = outgoing.group_id or outgoing.key
        entry["MessageDeduplicationId"] = outgoing.dedup_id or outgoing.key
    elif outgoing.group_id:
        # Of a fair queue: no order, but whose message it is.
        entry["MessageGroupId"] = outgoing.group_id
    elif outgoing.delay_seconds > 0:
        entry["DelaySeconds"] = min(outgoing.delay_seconds, LONGEST_DELAY_SECONDS)
    if outgoing.attributes:
        entry["MessageAttributes"] = {
            name: _to_vendor(attribute) for name, attribute in outgoing.attributes.items()
        }
    return entry


def _to_vendor(attribute: Attribute) -> MessageAttributeValueTypeDef:
    if isinstance(attribute.value, bytes):
        return {"DataType": attribute.type, "BinaryValue": attribute.value}
    return {"DataType": attribute.type, "StringValue": attribute.value}


def receive(
    queue_url: str,
    max_messages: int = BATCH_ENTRIES,
    wait_seconds: int = LONGEST_POLL_SECONDS,
    visibility_seconds: int | None = None,
) -> list[Received]:
    """Take up to ten messages, waiting up to 20 s for the first. None received does not mean none there."""
    visibility: dict[str, Any] = (
        {} if visibility_seconds is None else {"VisibilityTimeout": visibility_seconds}
    )
    with vendor_errors(queue_url):
        answer = client_for(queue_url).receive_message(
            QueueUrl=queue_url,
            MaxNumberOfMessages=min(max_messages, BATCH_ENTRIES),
            WaitTimeSeconds=min(wait_seconds, LONGEST_POLL_SECONDS),
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
            **visibility,
        )
        return [_received(queue_url, message) for message in answer.get("Messages", [])]


def _received(queue_url: str, message: MessageTypeDef) -> Received:
    system: dict[str, str] = {str(name): value for name, value in message.get("Attributes", {}).items()}
    sent = system.get("SentTimestamp", "")
    return Received(
        queue_url=queue_url,
        message_id=message["MessageId"],
        receipt_handle=message["ReceiptHandle"],
        body=message["Body"],
        receive_count=int(system.get("ApproximateReceiveCount", 1)),
        sent_at=datetime.fromtimestamp(int(sent) / 1000, UTC) if sent else None,
        attributes={
            name: Attribute(
                value["BinaryValue"] if "BinaryValue" in value else value["StringValue"], value["DataType"]
            )
            for name, value in message.get("MessageAttributes", {}).items()
        },
        system_attributes=system,
    )


def delete(received: Received) -> bool:
    """Remove a message for good. False when its receipt handle no longer counts (SQS often won't tell)."""
    try:
        with vendor_errors(received.queue_url):
            client_for(received.queue_url).delete_message(
                QueueUrl=received.queue_url, ReceiptHandle=received.receipt_handle
            )
    except MessageRefused:
        return False
    return True


def release(received: Received, delay_seconds: int = 0) -> bool:
    """Give a message back, to be received again after the delay. False when it is no longer in our hands."""
    try:
        with vendor_errors(received.queue_url):
            client_for(received.queue_url).change_message_visibility(
                QueueUrl=received.queue_url,
                ReceiptHandle=received.receipt_handle,
                VisibilityTimeout=max(0, min(delay_seconds, LONGEST_VISIBILITY_SECONDS)),
            )
    except MessageRefused:
        return False
    return True


def delete_batch(received: Sequence[Received]) -> set[str]:
    """Remove at most ten messages of one queue for good; returns the ids of those that SQS says are gone."""
    if not received:
        return set()
    handles: list[Any] = _handles(received)
    with vendor_errors(received[0].queue_url):
        client = client_for(received[0].queue_url)
        answer = client.delete_message_batch(QueueUrl=received[0].queue_url, Entries=handles)
        return _ids_of(received, answer)


def release_batch(received: Sequence[Received]) -> set[str]:
    """Give at most ten messages of one queue back at once; returns the ids of those that SQS says are visible."""
    if not received:
        return set()
    handles: list[Any] = [handle | {"VisibilityTimeout": 0} for handle in _handles(received)]
    with vendor_errors(received[0].queue_url):
        client = client_for(received[0].queue_url)
        answer = client.change_message_visibility_batch(QueueUrl=received[0].queue_url, Entries=handles)
        return _ids_of(received, answer)


def _handles(received: Sequence[Received]) -> list[dict[str, Any]]:
    return [
        {"Id": str(number), "ReceiptHandle": message.receipt_handle}
        for number, message in enumerate(received)
    ]


def _ids_of(received: Sequence[Received], answer: Mapping[str, Any]) -> set[str]:
    """HTTP 200 says nothing of a single entry: only those that are named as successful count."""
    return {received[int(item["Id"])].message_id for item in answer.get("Successful", [])}


def depth(queue_url: str) -> QueueDepth:
    """Read the gauge. Raises ``QueueError`` when any part can't be read: unknown is not zero."""
    with vendor_errors(queue_url):
        answer = client_for(queue_url).get_queue_attributes(QueueUrl=queue_url, AttributeNames=["All"])
        values = answer["Attributes"]
        redrive = json.loads(values.get("RedrivePolicy", "{}"))
        limit = redrive.get("maxReceiveCount")
        return QueueDepth(
            visible=int(values["ApproximateNumberOfMessages"]),
            in_flight=int(values["ApproximateNumberOfMessagesNotVisible"]),
            delayed=int(values["ApproximateNumberOfMessagesDelayed"]),
            visibility_timeout_seconds=int(values["VisibilityTimeout"]),
            retention_seconds=int(values["MessageRetentionPeriod"]),
            max_receive_count=None if limit is None else int(limit),
            dlq_arn=redrive.get("deadLetterTargetArn"),
        )


def console_link(queue_url: str) -> str | None:
    """The page of this queue in the AWS console; None when the queue is not on AWS itself."""
    host = urlsplit(queue_url).hostname or ""
    named = AWS_HOST.search(host)
    if named is None or settings.AWS_ENDPOINT_URL:
        return None
    domain = "console.amazonaws.cn" if host.endswith(".amazonaws.com.cn") else "console.aws.amazon.com"
    page = f"https://{named[1]}.{domain}/sqs/v3/home?region={named[1]}"
    return f"{page}#/queues/{quote(queue_url, safe='')}"


def client_for(queue_url: str, *, once: bool = False) -> SQSClient:
    """The process's client for this queue; ``once``: one that tries nothing twice. Tests put their fake here."""
    try:
        return _client(os.getpid(), *_region_and_endpoint(queue_url), once=once)
    except ValueError as error:
        raise QueueMisconfigured(
            f"{queue_url!r} can't be the URL of a queue: {error}. Correct the setting."
        ) from error


def _region_and_endpoint(queue_url: str) -> tuple[str, str]:
    """Queues of one console may stand in several regions: their URL knows. Elsewhere the settings decide."""
    url = urlsplit(queue_url)
    named = AWS_HOST.search(url.hostname or "")
    return (
        named[1] if named else settings.AWS_DEFAULT_REGION,
        settings.AWS_ENDPOINT_URL or f"{url.scheme}://{url.netloc}",
    )


@cache
def _client(pid: int, region: str, endpoint: str, *, once: bool = False) -> SQSClient:
    """Connections must not be shared with a forked child: each process (``pid``) opens its own."""
    # A session of its own, because the module-wide one is not safe for threads while a client is made.
    config = CONFIG.merge(ONCE) if once else CONFIG
    client = boto3.session.Session().client("sqs", region_name=region, endpoint_url=endpoint, config=config)
    client.meta.events.register("after-call.sqs", check_answer)
    return client
