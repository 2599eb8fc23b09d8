"""The adapter for Amazon SQS: the only package that uses boto3 and knows what the vendor's failures mean.

Each function translates the vendor's errors to a ``QueueError``: ``QueueUnavailable`` (try again),
``QueueThrottled`` (try again, slower), ``QueueMisconfigured`` (a person must act) or ``MessageRefused`` (this
message, or this receipt handle, will never be accepted).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from opsconsole_worker.messages import MAX_VISIBILITY_SECONDS
from opsconsole_worker.sqs import batch_answers
from opsconsole_worker.sqs.addresses import console_link, is_fifo, region_and_endpoint
from opsconsole_worker.sqs.failures import (
    MessageRefused,
    QueueError,
    QueueMisconfigured,
    QueueThrottled,
    QueueUnavailable,
    QueueUnreachable,
    vendor_errors,
)
from opsconsole_worker.sqs.message_types import (
    BATCH_BYTES,
    BATCH_ENTRIES,
    LONGEST_POLL_SECONDS,
    TRACE_HEADER,
    Attribute,
    Outgoing,
    QueueDepth,
    Received,
    SendResult,
    split_batches,
)
from opsconsole_worker.sqs.permissions import Action, Tried, attempt, service_time
from opsconsole_worker.sqs.wire_format import (
    batch_entry,
    handles_of,
    queue_depth,
    received_messages,
)

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient
    from types_boto3_sqs.type_defs import ChangeMessageVisibilityBatchRequestEntryTypeDef

__all__ = [
    "BATCH_BYTES",
    "BATCH_ENTRIES",
    "LONGEST_POLL_SECONDS",
    "TRACE_HEADER",
    "Action",
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
    "Tried",
    "client_for",
    "console_link",
    "delete",
    "delete_batch",
    "depth",
    "is_fifo",
    "receive",
    "release",
    "release_batch",
    "send_batch",
    "send_raw",
    "split_batches",
    "time_of_service",
    "try_action",
]

# SQS hides a message for at most 12 hours after it was received; the margin covers the time since then.
LONGEST_VISIBILITY_SECONDS = MAX_VISIBILITY_SECONDS - 600


def send_batch(queue_url: str, entries: Sequence[Outgoing], *, once: bool = False) -> list[SendResult]:
    """Send at most ten messages of 1 MiB in total (``split_batches``) in one call; return a result per message, in order.

    With ``once``, boto3 does not retry. Raise ``QueueError`` when the whole call failed. After ``QueueUnavailable``
    some messages may have been sent; with ``once``, none were after ``QueueUnreachable`` or ``QueueThrottled``.
    """
    if not entries:
        return []
    request = [batch_entry(queue_url, str(number), entry) for number, entry in enumerate(entries)]
    try:
        with vendor_errors(queue_url):
            client = client_for(queue_url, once=True) if once else client_for(queue_url)
            answer = client.send_message_batch(QueueUrl=queue_url, Entries=request)
            results = batch_answers.results_of(entries, answer)
    except MessageRefused as refusal:
        return _send_apart(queue_url, entries, refusal, once=once)
    return results


def _send_apart(
    queue_url: str, entries: Sequence[Outgoing], refusal: MessageRefused, *, once: bool
) -> list[SendResult]:
    """Send each entry alone, because some queues refuse a whole batch for one bad entry."""
    if len(entries) == 1:
        return [SendResult(entries[0].key, error=str(refusal), permanent=True)]
    return [result for entry in entries for result in send_batch(queue_url, [entry], once=once)]


def send_raw(
    queue_url: str,
    body: str,
    attributes: Mapping[str, Attribute] | None = None,
    trace_header: str | None = None,
) -> str:
    """Send a body unchanged, such as a malformed message to a DLQ. Return the message id; raise ``QueueError``."""
    outgoing = Outgoing(key=uuid4().hex, body=body, attributes=attributes or {}, trace_header=trace_header)
    entry = batch_entry(queue_url, "0", outgoing)
    fields: Any = {name: value for name, value in entry.items() if name != "Id"}
    with vendor_errors(queue_url):
        answer = client_for(queue_url).send_message(QueueUrl=queue_url, **fields)
        return batch_answers.id_of_sent(body, answer)


def receive(
    queue_url: str,
    max_messages: int = BATCH_ENTRIES,
    wait_seconds: int = LONGEST_POLL_SECONDS,
    visibility_seconds: int | None = None,
) -> list[Received]:
    """Receive up to ten messages, waiting up to 20 s for the first. An empty result does not mean an empty queue."""
    visibility: dict[str, Any] = (
        {} if visibility_seconds is None else {"VisibilityTimeout": visibility_seconds}
    )
    asked_for = min(max_messages, BATCH_ENTRIES)
    with vendor_errors(queue_url):
        answer = client_for(queue_url).receive_message(
            QueueUrl=queue_url,
            MaxNumberOfMessages=asked_for,
            WaitTimeSeconds=min(wait_seconds, LONGEST_POLL_SECONDS),
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
            **visibility,
        )
        return received_messages(queue_url, answer.get("Messages", []), asked_for)


def delete(received: Received) -> bool:
    """Delete a message. Return False when its receipt handle has expired (SQS does not always say so)."""
    try:
        with vendor_errors(received.queue_url):
            client_for(received.queue_url).delete_message(
                QueueUrl=received.queue_url, ReceiptHandle=received.receipt_handle
            )
    except MessageRefused:
        return False
    return True


def release(received: Received, delay_seconds: int = 0) -> bool:
    """Return a message to the queue, to be received again after the delay. False when its receipt handle has expired."""
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
    """Delete at most ten messages of one queue; return the ids of those that SQS confirms."""
    if not received:
        return set()
    handles = handles_of(received)
    with vendor_errors(received[0].queue_url):
        client = client_for(received[0].queue_url)
        answer = client.delete_message_batch(QueueUrl=received[0].queue_url, Entries=handles)
        return batch_answers.confirmed(received, answer)


def release_batch(received: Sequence[Received]) -> set[str]:
    """Return at most ten messages to their queue at once; return the ids of those that SQS confirms."""
    if not received:
        return set()
    handles: list[ChangeMessageVisibilityBatchRequestEntryTypeDef] = [
        {**handle, "VisibilityTimeout": 0} for handle in handles_of(received)
    ]
    with vendor_errors(received[0].queue_url):
        client = client_for(received[0].queue_url)
        answer = client.change_message_visibility_batch(QueueUrl=received[0].queue_url, Entries=handles)
        return batch_answers.confirmed(received, answer)


def depth(queue_url: str) -> QueueDepth:
    """Read the depth of a queue. Raise ``QueueError`` when any part can't be read: unknown is not zero."""
    with vendor_errors(queue_url):
        answer = client_for(queue_url).get_queue_attributes(QueueUrl=queue_url, AttributeNames=["All"])
        return queue_depth(answer["Attributes"])


def try_action(queue_url: str, action: Action) -> Tried:
    """Try whether this process may do this with the queue, without touching a message. Raise ``QueueError``."""
    return attempt(client_for(queue_url, once=True), queue_url, action)


def time_of_service(queue_url: str) -> datetime | None:
    """Return the service's time, by the header of an answer; None where it has none. Raise ``QueueError``."""
    return service_time(client_for(queue_url), queue_url)


def client_for(queue_url: str, *, once: bool = False) -> SQSClient:
    """Return this process's client for the queue; with ``once``, a client without retries. Tests replace this function."""
    try:
        return _client(os.getpid(), *region_and_endpoint(queue_url), once=once)
    except ValueError as error:
        raise QueueMisconfigured(
            f"{queue_url!r} can't be the URL of a queue: {error}. Correct the setting."
        ) from error


def load() -> None:
    """Load what clients are made of, without asking anybody, so that forks of this process share it."""
    _client(os.getpid(), "us-east-1", "https://sqs.us-east-1.amazonaws.com")


@cache
def _client(pid: int, region: str, endpoint: str, *, once: bool = False) -> SQSClient:
    """Create a client per process (``pid``): connections must not be shared with a forked child."""
    from opsconsole_worker.sqs import clients  # noqa: PLC0415 - boto3 is read only in processes that ask SQS

    return clients.create(region, endpoint, once=once)
