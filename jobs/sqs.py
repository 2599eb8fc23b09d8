"""Amazon SQS: the only module that knows boto3, and what the vendor's failures mean.

Each function raises a ``QueueError`` and nothing else of the vendor's: ``QueueUnavailable`` (try again),
``QueueThrottled`` (try again, slower), ``QueueMisconfigured`` (a person must act) or ``MessageRefused`` (this
message, or this receipt handle, will never be taken as it is).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

import boto3
from botocore import exceptions as vendor
from botocore.config import Config
from botocore.parsers import ResponseParserError
from django.conf import settings

from opsconsole.errors import OpsConsoleError

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient
    from types_boto3_sqs.type_defs import (
        MessageAttributeValueTypeDef,
        MessageTypeDef,
        SendMessageBatchRequestEntryTypeDef,
    )

BATCH_ENTRIES = 10
BATCH_BYTES = 1_048_576
LONGEST_DELAY_SECONDS = 900
LONGEST_POLL_SECONDS = 20
# SQS hides a message for 12 hours from its receipt at most; the margin is for the time since then.
LONGEST_VISIBILITY_SECONDS = 43_200 - 600
LONGEST_DETAIL = 300

CONFIG = Config(
    connect_timeout=3,
    read_timeout=LONGEST_POLL_SECONDS + 5,
    retries={"mode": "standard", "total_max_attempts": 2},
    max_pool_connections=16,
)


class QueueError(OpsConsoleError):
    """A queue did not do what was asked; the sentence names the queue and what to do."""


class QueueUnavailable(QueueError):
    """The queue can't be reached or failed; whether the request had an effect is unknown. Try again later."""


class QueueThrottled(QueueUnavailable):
    """Too many requests, or too many messages in flight. Try again later, with fewer."""


class QueueMisconfigured(QueueError):
    """No such queue, no permission, no credentials: it stays so until a person acts."""


class MessageRefused(QueueError):
    """The queue works, and will never take this message or this receipt handle as it is."""


THROTTLED = frozenset(
    {
        "KmsThrottled",
        "OverLimit",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
REFUSED = frozenset(
    {
        "BatchRequestTooLong",
        "InvalidAttributeValue",
        "InvalidIdFormat",
        "InvalidMessageContents",
        "InvalidParameterValue",
        "MessageNotInflight",
        "MessageTooLong",
        "ReceiptHandleIsInvalid",
    }
)
# What may fail for each entry of a batch although no entry is to blame.
NEEDS_A_PERSON = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "DisabledException",
        "KMSInvalidStateException",
        "KmsAccessDenied",
        "KmsDisabled",
        "KmsInvalidKeyUsage",
        "KmsInvalidState",
        "KmsNotFound",
        "KmsOptInRequired",
        "NotFoundException",
    }
)
NEEDS_CREDENTIALS = (
    vendor.LoginError,
    vendor.NoAuthTokenError,
    vendor.NoCredentialsError,
    vendor.PartialCredentialsError,
    vendor.ProfileNotFound,
    vendor.SSOError,
)
# Parsing trips over an answer that is no answer of SQS, such as a proxy's page.
NOT_SQS = (ResponseParserError, AttributeError, KeyError, OverflowError, TypeError, ValueError)
AWS_HOST = re.compile(r"\b([a-z]{2,4}(?:-[a-z]+)+-\d+)\..*(?:amazonaws\.(?:com|com\.cn|eu)|api\.aws)$")


@dataclass(frozen=True)
class Attribute:
    """A message attribute: SQS data type ('String', 'Number', 'Binary', 'String.custom') and value."""

    value: str | bytes
    type: str = "String"

    @classmethod
    def text(cls, value: str) -> Attribute:
        """Any text as an attribute that SQS takes: it refuses an empty one and characters foreign to XML."""
        return cls(re.sub("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", value) or "-")


@dataclass(frozen=True, kw_only=True)
class Outgoing:
    """One message to send. ``key`` is the caller's name for it, repeated in its ``SendResult``.

    FIFO queues use ``group_id`` and ``dedup_id`` (default: the key); the others use ``delay_seconds``, of
    which SQS takes 900 at most.
    """

    key: str
    body: str
    delay_seconds: int = 0
    group_id: str | None = None
    dedup_id: str | None = None
    attributes: Mapping[str, Attribute] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """The bytes that SQS counts: body, attribute names, types and values."""
        attributes = sum(
            _bytes(name) + _bytes(attribute.type) + _bytes(attribute.value)
            for name, attribute in self.attributes.items()
        )
        return _bytes(self.body) + attributes


@dataclass(frozen=True)
class SendResult:
    """What became of one message: sent (``message_id``) or not (``error``), ``permanent``: never will be."""

    key: str
    message_id: str | None = None
    error: str | None = None
    permanent: bool = False


@dataclass(frozen=True, kw_only=True)
class Received:
    """A message in our hands until its visibility timeout ends. ``receive_count`` is approximate."""

    queue_url: str
    message_id: str
    receipt_handle: str
    body: str
    receive_count: int
    sent_at: datetime | None
    attributes: dict[str, Attribute]
    system_attributes: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class QueueDepth:
    """A queue's gauge (approximate counts) and its settings that matter to operators."""

    visible: int
    in_flight: int
    delayed: int
    visibility_timeout_seconds: int
    retention_seconds: int
    max_receive_count: int | None
    dlq_arn: str | None

    @property
    def total(self) -> int:
        return self.visible + self.in_flight + self.delayed


def split_batches(entries: Sequence[Outgoing]) -> list[list[Outgoing]]:
    """In order, in batches that SQS takes: ten entries and 1 MiB; one that alone is larger goes alone."""
    batches: list[list[Outgoing]] = []
    room = 0
    for entry in entries:
        if not batches or len(batches[-1]) == BATCH_ENTRIES or entry.size > room:
            batches.append([])
            room = BATCH_BYTES
        batches[-1].append(entry)
        room -= entry.size
    return batches


def send_batch(queue_url: str, entries: Sequence[Outgoing]) -> list[SendResult]:
    """Send at most ten messages of 1 MiB in all (``split_batches``) in one call; a result for each, in order.

    Raises ``QueueError`` when the call as a whole failed; after ``QueueUnavailable`` some may have been sent.
    """
    if not entries:
        return []
    request = [_entry(queue_url, str(number), entry) for number, entry in enumerate(entries)]
    try:
        with _vendor_errors(queue_url):
            answer = client_for(queue_url).send_message_batch(QueueUrl=queue_url, Entries=request)
            sent = {item["Id"]: item["MessageId"] for item in answer.get("Successful", [])}
            failed = {item["Id"]: item for item in answer.get("Failed", [])}
    except MessageRefused as refusal:
        return _send_apart(queue_url, entries, refusal)
    return [
        SendResult(entry.key, sent[item["Id"]])
        if item["Id"] in sent
        else _failed(entry, failed.get(item["Id"]))
        for item, entry in zip(request, entries, strict=True)
    ]


def _send_apart(queue_url: str, entries: Sequence[Outgoing], refusal: MessageRefused) -> list[SendResult]:
    """Some queues refuse a whole batch for one bad entry: alone, it takes no other one down."""
    if len(entries) == 1:
        return [SendResult(entries[0].key, error=str(refusal), permanent=True)]
    return [result for entry in entries for result in send_batch(queue_url, [entry])]


def _failed(entry: Outgoing, failure: Mapping[str, Any] | None) -> SendResult:
    if failure is None:
        return SendResult(entry.key, error="The answer does not mention the message: it may have been sent.")
    code = _short_code(str(failure.get("Code", "")))
    # Throttling and missing rights count as the sender's fault too, but they pass without changing the message.
    permanent = bool(failure.get("SenderFault")) and code not in THROTTLED | NEEDS_A_PERSON
    return SendResult(entry.key, error=_detail(code, str(failure.get("Message", ""))), permanent=permanent)


def send_raw(queue_url: str, body: str, attributes: Mapping[str, Attribute] | None = None) -> str:
    """Send a body as it is, such as a poison message to a DLQ. Returns the message id, raises ``QueueError``."""
    entry = _entry(queue_url, "0", Outgoing(key=uuid4().hex, body=body, attributes=attributes or {}))
    fields: Any = {name: value for name, value in entry.items() if name != "Id"}
    with _vendor_errors(queue_url):
        return client_for(queue_url).send_message(QueueUrl=queue_url, **fields)["MessageId"]


def _entry(queue_url: str, number: str, outgoing: Outgoing) -> SendMessageBatchRequestEntryTypeDef:
    entry: SendMessageBatchRequestEntryTypeDef = {"Id": number, "MessageBody": outgoing.body}
    if urlsplit(queue_url).path.endswith(".fifo"):
        entry["MessageGroupId"] = outgoing.group_id or outgoing.key
        entry["MessageDeduplicationId"] = outgoing.dedup_id or outgoing.key
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
    with _vendor_errors(queue_url):
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
        with _vendor_errors(received.queue_url):
            client_for(received.queue_url).delete_message(
                QueueUrl=received.queue_url, ReceiptHandle=received.receipt_handle
            )
    except MessageRefused:
        return False
    return True


def release(received: Received, delay_seconds: int = 0) -> bool:
    """Give a message back, to be received again after the delay. False when it is no longer in our hands."""
    try:
        with _vendor_errors(received.queue_url):
            client_for(received.queue_url).change_message_visibility(
                QueueUrl=received.queue_url,
                ReceiptHandle=received.receipt_handle,
                VisibilityTimeout=max(0, min(delay_seconds, LONGEST_VISIBILITY_SECONDS)),
            )
    except MessageRefused:
        return False
    return True


def depth(queue_url: str) -> QueueDepth:
    """Read the gauge. Raises ``QueueError`` when any part can't be read: unknown is not zero."""
    with _vendor_errors(queue_url):
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


def client_for(queue_url: str) -> SQSClient:
    """The process's client for this queue. Tests put their fake in its place."""
    try:
        return _client(os.getpid(), *_region_and_endpoint(queue_url))
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
def _client(pid: int, region: str, endpoint: str) -> SQSClient:
    """Connections must not be shared with a forked child: each process (``pid``) opens its own."""
    # A session of its own, because the module-wide one is not safe for threads while a client is made.
    return boto3.session.Session().client("sqs", region_name=region, endpoint_url=endpoint, config=CONFIG)


@contextmanager
def _vendor_errors(queue_url: str) -> Iterator[None]:
    """Let every failure of the vendor's leave as a ``QueueError``."""
    try:
        yield
    except vendor.ClientError as error:
        raise _from_answer(queue_url, error) from error
    except NEEDS_CREDENTIALS as error:
        raise QueueMisconfigured(
            f"There are no AWS credentials to use {queue_url} with: {_detail('', str(error))} "
            "Give the process a role, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        ) from error
    except vendor.ParamValidationError as error:
        raise MessageRefused(f"The request to {queue_url} is not valid: {_detail('', str(error))}") from error
    except vendor.BotoCoreError as error:
        raise QueueUnavailable(
            f"The queue {queue_url} can't be reached: {_detail('', str(error))}"
        ) from error
    except NOT_SQS as error:
        raise QueueUnavailable(
            f"What answers at {queue_url} does not answer like SQS ({error}). Check the URL and any proxy."
        ) from error


def _from_answer(queue_url: str, error: vendor.ClientError) -> QueueError:
    """What an error answer means, by its code, then by its HTTP status."""
    answer: Mapping[str, Any] = error.response
    code = _short_code(str(answer.get("Error", {}).get("Code", "")))
    status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    detail = _detail(code, str(answer.get("Error", {}).get("Message", "")))
    if code in THROTTLED or status == 429:
        return QueueThrottled(f"The queue {queue_url} asks for fewer requests: {detail}")
    if status >= 500:
        return QueueUnavailable(f"The queue {queue_url} failed: {detail}")
    if code in REFUSED:
        return MessageRefused(f"The queue {queue_url} refuses this message: {detail}")
    return QueueMisconfigured(
        f"The queue {queue_url} can't be used: {detail} Check its URL, its region and this process's permissions."
    )


def _short_code(code: str) -> str:
    """'AWS.SimpleQueueService.NonExistentQueue' -> 'NonExistentQueue'."""
    return code.rpartition(".")[2]


def _detail(code: str, message: str) -> str:
    text = " ".join(message.split())[:LONGEST_DETAIL].rstrip(".")
    return ": ".join(part for part in (code, text) if part) + "."


def _bytes(value: str | bytes) -> int:
    return len(value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass"))
