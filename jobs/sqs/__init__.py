"""Amazon SQS: the only package that knows boto3, and what the vendor's failures mean.

Each function raises a ``QueueError`` and nothing else of the vendor's: ``QueueUnavailable`` (try again),
``QueueThrottled`` (try again, slower), ``QueueMisconfigured`` (a person must act) or ``MessageRefused`` (this
message, or this receipt handle, will never be taken as it is).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import boto3
from botocore.config import Config

from jobs.sqs.addresses import console_link, region_and_endpoint
from jobs.sqs.failures import (
    MessageRefused,
    QueueError,
    QueueMisconfigured,
    QueueThrottled,
    QueueUnavailable,
    QueueUnreachable,
    check_answer,
    vendor_errors,
)
from jobs.sqs.message_types import (
    BATCH_BYTES,
    BATCH_ENTRIES,
    Attribute,
    Outgoing,
    QueueDepth,
    Received,
    SendResult,
    split_batches,
)
from jobs.sqs.wire_format import batch_entry, handles_of, ids_of, not_sent, queue_depth, received_message

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

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


def send_batch(queue_url: str, entries: Sequence[Outgoing], *, once: bool = False) -> list[SendResult]:
    """Send at most ten messages of 1 MiB in all (``split_batches``) in one call; a result for each, in order.

    ``once``: boto3 itself tries nothing twice. Raises ``QueueError`` when the call as a whole failed; after
    ``QueueUnavailable`` some may have been sent, but, with ``once``, for ``QueueUnreachable`` and ``QueueThrottled``.
    """
    if not entries:
        return []
    request = [batch_entry(queue_url, str(number), entry) for number, entry in enumerate(entries)]
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
        else not_sent(entry, failed.get(item["Id"]))
        for item, entry in zip(request, entries, strict=True)
    ]


def _send_apart(
    queue_url: str, entries: Sequence[Outgoing], refusal: MessageRefused, *, once: bool
) -> list[SendResult]:
    """Some queues refuse a whole batch for one bad entry: alone, it takes no other one down."""
    if len(entries) == 1:
        return [SendResult(entries[0].key, error=str(refusal), permanent=True)]
    return [result for entry in entries for result in send_batch(queue_url, [entry], once=once)]


def send_raw(queue_url: str, body: str, attributes: Mapping[str, Attribute] | None = None) -> str:
    """Send a body as it is, such as a poison message to a DLQ. Returns the message id, raises ``QueueError``."""
    entry = batch_entry(queue_url, "0", Outgoing(key=uuid4().hex, body=body, attributes=attributes or {}))
    fields: Any = {name: value for name, value in entry.items() if name != "Id"}
    with vendor_errors(queue_url):
        return client_for(queue_url).send_message(QueueUrl=queue_url, **fields)["MessageId"]


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
        return [received_message(queue_url, message) for message in answer.get("Messages", [])]


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
    handles: list[Any] = handles_of(received)
    with vendor_errors(received[0].queue_url):
        client = client_for(received[0].queue_url)
        answer = client.delete_message_batch(QueueUrl=received[0].queue_url, Entries=handles)
        return ids_of(received, answer)


def release_batch(received: Sequence[Received]) -> set[str]:
    """Give at most ten messages of one queue back at once; returns the ids of those that SQS says are visible."""
    if not received:
        return set()
    handles: list[Any] = [handle | {"VisibilityTimeout": 0} for handle in handles_of(received)]
    with vendor_errors(received[0].queue_url):
        client = client_for(received[0].queue_url)
        answer = client.change_message_visibility_batch(QueueUrl=received[0].queue_url, Entries=handles)
        return ids_of(received, answer)


def depth(queue_url: str) -> QueueDepth:
    """Read the gauge. Raises ``QueueError`` when any part can't be read: unknown is not zero."""
    with vendor_errors(queue_url):
        answer = client_for(queue_url).get_queue_attributes(QueueUrl=queue_url, AttributeNames=["All"])
        return queue_depth(answer["Attributes"])


def client_for(queue_url: str, *, once: bool = False) -> SQSClient:
    """The process's client for this queue; ``once``: one that tries nothing twice. Tests put their fake here."""
    try:
        return _client(os.getpid(), *region_and_endpoint(queue_url), once=once)
    except ValueError as error:
        raise QueueMisconfigured(
            f"{queue_url!r} can't be the URL of a queue: {error}. Correct the setting."
        ) from error


@cache
def _client(pid: int, region: str, endpoint: str, *, once: bool = False) -> SQSClient:
    """Connections must not be shared with a forked child: each process (``pid``) opens its own."""
    # A session of its own, because the module-wide one is not safe for threads while a client is made.
    config = CONFIG.merge(ONCE) if once else CONFIG
    client = boto3.session.Session().client("sqs", region_name=region, endpoint_url=endpoint, config=config)
    client.meta.events.register("after-call.sqs", check_answer)
    return client
