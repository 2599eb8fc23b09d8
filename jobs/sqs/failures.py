"""What the vendor's failures mean: each becomes a ``QueueError`` with a sentence for the operator."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from botocore import exceptions as vendor
from botocore.parsers import ResponseParserError

from opsconsole.kit.errors import OpsConsoleError

LONGEST_DETAIL = 300


class QueueError(OpsConsoleError):
    """A queue did not do what was asked; the sentence names the queue and what to do."""


class QueueUnavailable(QueueError):
    """The queue can't be reached or failed; whether the request had an effect is unknown. Try again later."""


class QueueUnreachable(QueueUnavailable):
    """No connection came about, so this try had no effect. Try again later."""


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
NEVER_LEFT = (vendor.ConnectTimeoutError, vendor.EndpointConnectionError, vendor.ProxyConnectionError)
# Parsing trips over an answer that is no answer of SQS.
NOT_SQS = (
    ResponseParserError,
    AttributeError,
    KeyError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
)


@contextmanager
def vendor_errors(queue_url: str) -> Iterator[None]:
    """Let every failure of the vendor's leave as a ``QueueError``."""
    try:
        yield
    except vendor.ClientError as error:
        raise _from_answer(queue_url, error) from error
    except NEEDS_CREDENTIALS as error:
        raise QueueMisconfigured(
            f"There are no AWS credentials to use {queue_url} with: {detail('', str(error))} "
            "Give the process a role, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        ) from error
    except vendor.ParamValidationError as error:
        raise MessageRefused(f"The request to {queue_url} is not valid: {detail('', str(error))}") from error
    except NEVER_LEFT as error:
        raise QueueUnreachable(f"The queue {queue_url} can't be reached: {detail('', str(error))}") from error
    except vendor.BotoCoreError as error:
        raise QueueUnavailable(f"The queue {queue_url} can't be reached: {detail('', str(error))}") from error
    except NOT_SQS as error:
        raise QueueUnavailable(
            f"What answers at {queue_url} does not answer like SQS ({error}). Check the URL and any proxy."
        ) from error


def _from_answer(queue_url: str, error: vendor.ClientError) -> QueueError:
    """What an error answer means, by its code, then by its HTTP status."""
    answer: Mapping[str, Any] = error.response
    code = short_code(str(answer.get("Error", {}).get("Code", "")))
    status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    said = detail(code, str(answer.get("Error", {}).get("Message", "")))
    if code in THROTTLED or status == 429:
        return QueueThrottled(f"The queue {queue_url} asks for fewer requests: {said}")
    if status >= 500:
        return QueueUnavailable(f"The queue {queue_url} failed: {said}")
    if code in REFUSED:
        return MessageRefused(f"The queue {queue_url} refuses this message: {said}")
    return QueueMisconfigured(
        f"The queue {queue_url} can't be used: {said} Check its URL, its region and this process's permissions."
    )


def short_code(code: str) -> str:
    """'AWS.SimpleQueueService.NonExistentQueue' -> 'NonExistentQueue'."""
    return code.rpartition(".")[2]


def detail(code: str, message: str) -> str:
    text = " ".join(message.split())[:LONGEST_DETAIL].rstrip(".")
    return ": ".join(part for part in (code, text) if part) + "."


def check_answer(http_response: Any, **_: Any) -> None:
    """Refuse a success that SQS did not give, such as a proxy's page: the client would read it as "nothing there".

    Called by the client after each answer. SQS signs each with a request id and its own content type; emulators
    at least with one of them.
    """
    if http_response.status_code >= 300:
        return
    headers = {name.lower(): value for name, value in http_response.headers.items()}
    kind = headers.get("content-type", "none")
    if "x-amzn-requestid" not in headers and not kind.startswith("application/x-amz-json"):
        raise ValueError(f"it has no request id, and its content type is {kind[:80]}")
    # To delete and to release, SQS answers with an empty body.
    if http_response.content and not isinstance(json.loads(http_response.content), dict):
        raise TypeError("its body is no JSON object")
