"""Permissions tried on a queue without touching a message.

Each request but the reading of attributes is one that has no effect where it is allowed: SQS refuses what it asks for. An
empty batch sends nothing, a receive of 0 messages receives none, and a receipt handle that no message has deletes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from opsconsole_worker.sqs.failures import short_code, vendor_errors

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

NO_HANDLE = "opsconsole-verify"
# The answers of a service that looked at what was asked for: it had let the caller in.
LOOKED_AT = frozenset(
    {
        "EmptyBatchRequest",
        "InvalidIdFormat",
        "InvalidParameterCombination",
        "InvalidParameterValue",
        "MessageNotInflight",
        "MissingParameter",
        "ReadCountOutOfRange",
        "ReceiptHandleIsInvalid",
        "ValidationError",
    }
)
DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "KmsAccessDenied"})


class Action(StrEnum):
    """What somebody may do with a queue, as IAM names it."""

    ATTRIBUTES = "sqs:GetQueueAttributes"
    SEND = "sqs:SendMessage"
    RECEIVE = "sqs:ReceiveMessage"
    DELETE = "sqs:DeleteMessage"
    VISIBILITY = "sqs:ChangeMessageVisibility"


@dataclass(frozen=True)
class Tried:
    """The answer to one try. ``why`` is what the service said when it refused."""

    action: Action
    allowed: bool
    why: str = ""


_REQUESTS: dict[Action, Callable[[SQSClient, str], Any]] = {
    Action.ATTRIBUTES: lambda client, url: client.get_queue_attributes(
        QueueUrl=url, AttributeNames=["VisibilityTimeout"]
    ),
    Action.SEND: lambda client, url: client.send_message_batch(QueueUrl=url, Entries=[]),
    Action.RECEIVE: lambda client, url: client.receive_message(QueueUrl=url, MaxNumberOfMessages=0),
    Action.DELETE: lambda client, url: client.delete_message(QueueUrl=url, ReceiptHandle=NO_HANDLE),
    Action.VISIBILITY: lambda client, url: client.change_message_visibility(
        QueueUrl=url, ReceiptHandle=NO_HANDLE, VisibilityTimeout=0
    ),
}


def attempt(client: SQSClient, queue_url: str, action: Action) -> Tried:
    """Try one action. Raise ``QueueError`` when the queue can't be reached or the credentials are refused."""
    with vendor_errors(queue_url):
        try:
            _REQUESTS[action](client, queue_url)
        except ClientError as error:
            code = short_code(str(error.response.get("Error", {}).get("Code", "")))
            reason = " ".join(str(error.response.get("Error", {}).get("Message", "")).split())[:200]
            if code in DENIED:
                return Tried(action, allowed=False, why=reason or code)
            if code in LOOKED_AT:
                return Tried(action, allowed=True)
            raise
    return Tried(action, allowed=True)


def service_time(client: SQSClient, queue_url: str) -> datetime | None:
    """Return the time that the service puts on an answer, to the second; None where it puts none."""
    with vendor_errors(queue_url):
        answer = client.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])
    date = answer["ResponseMetadata"].get("HTTPHeaders", {}).get("date", "")
    try:
        return parsedate_to_datetime(date).astimezone(UTC)
    except (ValueError, TypeError):
        return None
