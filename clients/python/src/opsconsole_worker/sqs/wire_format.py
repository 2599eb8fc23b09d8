"""Conversion between our types and the requests and answers of SQS. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from opsconsole_worker.sqs.addresses import is_fifo
from opsconsole_worker.sqs.failures import NEEDS_A_PERSON, THROTTLED, detail, short_code
from opsconsole_worker.sqs.message_types import (
    TRACE_HEADER,
    Attribute,
    Outgoing,
    QueueDepth,
    Received,
    SendResult,
)

if TYPE_CHECKING:
    from types_boto3_sqs.type_defs import (
        DeleteMessageBatchRequestEntryTypeDef,
        MessageAttributeValueTypeDef,
        MessageTypeDef,
        SendMessageBatchRequestEntryTypeDef,
    )

LONGEST_DELAY_SECONDS = 900


def batch_entry(queue_url: str, number: str, outgoing: Outgoing) -> SendMessageBatchRequestEntryTypeDef:
    entry: SendMessageBatchRequestEntryTypeDef = {"Id": number, "MessageBody": outgoing.body}
    if is_fifo(queue_url):
        entry["MessageGroupId"] = outgoing.group_id or outgoing.key
        entry["MessageDeduplicationId"] = outgoing.dedup_id or outgoing.key
    elif outgoing.group_id:
        # On a fair queue the group does not define an order, only whose message it is.
        entry["MessageGroupId"] = outgoing.group_id
    elif outgoing.delay_seconds > 0:
        entry["DelaySeconds"] = min(outgoing.delay_seconds, LONGEST_DELAY_SECONDS)
    if outgoing.attributes:
        entry["MessageAttributes"] = {
            name: _attribute(attribute) for name, attribute in outgoing.attributes.items()
        }
    if outgoing.trace_header:
        entry["MessageSystemAttributes"] = {
            TRACE_HEADER: {"DataType": "String", "StringValue": outgoing.trace_header}
        }
    return entry


def _attribute(attribute: Attribute) -> MessageAttributeValueTypeDef:
    if isinstance(attribute.value, bytes):
        return {"DataType": attribute.type, "BinaryValue": attribute.value}
    return {"DataType": attribute.type, "StringValue": attribute.value}


def not_sent(entry: Outgoing, failure: Mapping[str, Any] | None) -> SendResult:
    if failure is None:
        error = "The answer does not mention the message: it may have been sent."
        return SendResult(entry.key, error=error, unknown=True)
    code = short_code(str(failure.get("Code", "")))
    # SQS also blames the sender for throttling and missing permissions, but these pass without changing the message.
    permanent = bool(failure.get("SenderFault")) and code not in THROTTLED | NEEDS_A_PERSON
    return SendResult(entry.key, error=detail(code, str(failure.get("Message", ""))), permanent=permanent)


def received_message(queue_url: str, message: MessageTypeDef) -> Received:
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


def handles_of(received: Sequence[Received]) -> list[DeleteMessageBatchRequestEntryTypeDef]:
    return [
        {"Id": str(number), "ReceiptHandle": message.receipt_handle}
        for number, message in enumerate(received)
    ]


def ids_of(received: Sequence[Received], answer: Mapping[str, Any]) -> set[str]:
    """Return the ids of entries that are named as successful; HTTP 200 alone says nothing about single entries."""
    return {received[int(item["Id"])].message_id for item in answer.get("Successful", [])}


def queue_depth(values: Mapping[Any, str]) -> QueueDepth:
    """Read the depth from a queue's attributes, none of which may be missing: unknown is not zero."""
    return QueueDepth(
        visible=int(values["ApproximateNumberOfMessages"]),
        in_flight=int(values["ApproximateNumberOfMessagesNotVisible"]),
        delayed=int(values["ApproximateNumberOfMessagesDelayed"]),
        visibility_timeout_seconds=int(values["VisibilityTimeout"]),
        retention_seconds=int(values["MessageRetentionPeriod"]),
    )
