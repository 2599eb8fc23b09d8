"""Conversion between our types and the requests and answers of SQS. Pure."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import md5
from typing import TYPE_CHECKING, Any

from opsconsole_worker.sqs.addresses import is_fifo
from opsconsole_worker.sqs.message_types import (
    TRACE_HEADER,
    Attribute,
    Outgoing,
    QueueDepth,
    Received,
)

if TYPE_CHECKING:
    from types_boto3_sqs.type_defs import (
        DeleteMessageBatchRequestEntryTypeDef,
        MessageAttributeValueTypeDef,
        MessageTypeDef,
        SendMessageBatchRequestEntryTypeDef,
    )

log = logging.getLogger(__name__)

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


def received_messages(queue_url: str, messages: Sequence[MessageTypeDef], asked_for: int) -> list[Received]:
    """Return the messages that were asked for. What else is in the answer is received again by whoever asks later.

    That is more than was asked for, a receipt that occurs twice, and a body that was damaged on its way.
    """
    received: dict[str, Received] = {}
    for message in messages[:asked_for]:
        digest = message.get("MD5OfBody")
        if digest is not None and digest != md5_of(_text(message["Body"], at_least=0)):
            log.warning("The body of the message %s of %s came damaged.", message["MessageId"], queue_url)
            continue
        received.setdefault(message["ReceiptHandle"], received_message(queue_url, message))
    return list(received.values())


def received_message(queue_url: str, message: MessageTypeDef) -> Received:
    system: dict[str, str] = {str(name): value for name, value in message.get("Attributes", {}).items()}
    sent = system.get("SentTimestamp", "")
    return Received(
        queue_url=queue_url,
        message_id=id_of(message),
        receipt_handle=_text(message["ReceiptHandle"], at_least=1),
        body=_text(message["Body"], at_least=0),
        receive_count=_count(system.get("ApproximateReceiveCount", "1")),
        sent_at=datetime.fromtimestamp(_count(sent) / 1000, UTC) if sent else None,
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


def md5_of(body: str) -> str:
    """Return the digest that SQS gives of a body, by which both sides see that it arrived as it was sent."""
    return md5(body.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()


def queue_depth(values: Mapping[Any, str]) -> QueueDepth:
    """Read the depth from a queue's attributes, none of which may be missing or nonsense: unknown is not zero."""
    return QueueDepth(
        visible=_count(values["ApproximateNumberOfMessages"]),
        in_flight=_count(values["ApproximateNumberOfMessagesNotVisible"]),
        delayed=_count(values["ApproximateNumberOfMessagesDelayed"]),
        visibility_timeout_seconds=_count(values["VisibilityTimeout"]),
        retention_seconds=_count(values["MessageRetentionPeriod"]),
    )


def id_of(item: Mapping[str, Any]) -> str:
    """Return the id of a message, which SQS makes of a few letters and digits."""
    found = item["MessageId"]
    if not isinstance(found, str) or not re.fullmatch("[!-~]{1,100}", found):
        raise ValueError("it has no id of a message where SQS has one")
    return found


def _text(value: object, *, at_least: int) -> str:
    if not isinstance(value, str) or len(value) < at_least:
        raise ValueError("it has no text where SQS has one")
    return value


def _count(value: object) -> int:
    """Return a number of an answer, which SQS writes in digits."""
    if not re.fullmatch("[0-9]{1,15}", str(value)):
        raise ValueError("it has no number where SQS has one")
    return int(str(value))
