"""The vendor's failures, each translated to a ``QueueError`` with a sentence for the operator."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from botocore import exceptions as vendor

from opsconsole_worker.errors import OpsConsoleError

LONGEST_DETAIL = 300


class QueueError(OpsConsoleError):
    """A request to a queue failed; the sentence names the queue and what to do."""


class QueueUnavailable(QueueError):
    """The queue failed or can't be reached; whether the request had an effect is unknown. Try again later."""


class QueueUnreachable(QueueUnavailable):
    """No request was sent, so it had no effect. Try again later."""


class QueueThrottled(QueueUnavailable):
    """Too many requests, or too many messages in flight. Try again later, with fewer."""


class QueueMisconfigured(QueueError):
    """The queue does not exist, or permission or credentials are missing: a person must act."""


class MessageRefused(QueueError):
    """The queue works, but will never accept this message or this receipt handle."""


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
# Errors of single batch entries that are not the fault of the entry.
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
DEFAULT_ADVICE = "Check its URL, its region and this process's permissions."
_ENABLE = "Enable the KMS key that encrypts the queue, or give the queue another one."
_ALLOW_KEY = (
    "Allow this process to use the KMS key that encrypts the queue (kms:Decrypt and kms:GenerateDataKey), in the policy of its "
    "role and in that of the key."
)
_OTHER_KEY = "Give the queue a KMS key that exists, in its region, and that encrypts symmetrically."
_ALLOW = "Check its URL and its region, and allow this process what it asks for, in the policy of its role or in that of the queue."
ADVICE = {
    "AccessDenied": _ALLOW,
    "KmsAccessDenied": _ALLOW_KEY,
    "KmsDisabled": _ENABLE,
    "KmsInvalidState": _ENABLE,
    "KmsInvalidKeyUsage": _OTHER_KEY,
    "KmsNotFound": _OTHER_KEY,
    "KmsOptInRequired": "Subscribe the AWS account to KMS, or encrypt the queue with a key of SQS.",
}
# AWS answers so before it looks at a request, which therefore had no effect.
REFUSED_CREDENTIALS = frozenset(
    {
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSecurity",
        "InvalidSignatureException",
        "InvalidToken",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "UnrecognizedClientException",
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
# Credentials may come by themselves: the service that hands them out is away, or their file is being written.
NOT_SIGNED = (
    vendor.ConfigNotFound,
    vendor.ConfigParseError,
    vendor.CredentialRetrievalError,
    vendor.InvalidConfigError,
    vendor.MetadataRetrievalError,
)
# What AWS says of a request that was signed at another time than AWS's own; the code alone may also mean a wrong key.
WRONG_TIME = re.compile(
    r"RequestExpired|RequestTimeTooSkewed|RequestInTheFuture|Signature expired|Signature not yet current"
)
_USER_OF_URL = re.compile(r"://[^\s/]*@")
NEVER_LEFT = (vendor.ConnectTimeoutError, vendor.EndpointConnectionError, vendor.ProxyConnectionError)


@contextmanager
def vendor_errors(queue_url: str) -> Iterator[None]:
    """Translate every failure of the vendor to a ``QueueError``."""
    try:
        yield
    except vendor.ClientError as error:
        raise _from_answer(queue_url, error) from error
    except NEEDS_CREDENTIALS as error:
        raise QueueMisconfigured(
            f"There are no AWS credentials to use {queue_url} with: {detail('', str(error))} "
            "Give the process a role, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        ) from error
    except NOT_SIGNED as error:
        raise QueueUnreachable(
            f"The AWS credentials to use {queue_url} with can't be read now: {detail('', str(error))}"
        ) from error
    except vendor.ParamValidationError as error:
        raise MessageRefused(f"The request to {queue_url} is not valid: {detail('', str(error))}") from error
    except NEVER_LEFT as error:
        raise QueueUnreachable(f"The queue {queue_url} can't be reached: {detail('', str(error))}") from error
    except vendor.BotoCoreError as error:
        raise QueueUnavailable(f"The queue {queue_url} can't be reached: {detail('', str(error))}") from error
    except _not_sqs() as error:
        raise QueueUnavailable(
            f"What answers at {queue_url} does not answer like SQS ({error}). Check the URL and any proxy."
        ) from error


def _not_sqs() -> tuple[type[Exception], ...]:
    """Return how parsing fails on an answer that did not come from SQS."""
    from botocore.parsers import ResponseParserError  # noqa: PLC0415 - whoever got an answer has read it already

    return (
        ResponseParserError,
        AttributeError,
        LookupError,
        OverflowError,
        RecursionError,
        TypeError,
        ValueError,
    )


def _from_answer(queue_url: str, error: vendor.ClientError) -> QueueError:
    """Translate an error answer by its code, then by its HTTP status."""
    answer: Mapping[str, Any] = error.response
    code = short_code(str(answer.get("Error", {}).get("Code", "")))
    status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    reason = detail(code, str(answer.get("Error", {}).get("Message", "")))
    if code in THROTTLED or status == 429:
        return QueueThrottled(f"The queue {queue_url} asks for fewer requests: {reason}")
    if status >= 500:
        return QueueUnavailable(f"The queue {queue_url} failed: {reason}")
    if WRONG_TIME.search(reason):
        return QueueMisconfigured(
            f"AWS refuses {queue_url} to this host, whose clock is wrong: {reason} Set its clock, as by NTP."
        )
    if code in REFUSED_CREDENTIALS:
        return QueueMisconfigured(
            f"AWS refuses the credentials that {queue_url} is used with: {reason} Renew them where this process finds them: "
            "its role, its credentials file or its environment. A renewed role or file is used without a restart."
        )
    if code in REFUSED or status == 413:
        return MessageRefused(f"The queue {queue_url} refuses this message: {reason}")
    do = advice(str(answer.get("Error", {}).get("Code", ""))) or DEFAULT_ADVICE
    return QueueMisconfigured(f"The queue {queue_url} can't be used: {reason} {do}")


def advice(code: str) -> str:
    """Return what a person can do about a whole code, where that is known; '' elsewhere."""
    # The older protocol writes KMS.DisabledException, the newer one KmsDisabled.
    last = short_code(code.replace("KMS.", "AWS.Kms")).removesuffix("Exception")
    return ADVICE.get(last.replace("KMSInvalidState", "InvalidState"), "")


def short_code(code: str) -> str:
    """Return the last part of a code: 'AWS.SimpleQueueService.NonExistentQueue' -> 'NonExistentQueue'."""
    return code.rpartition(".")[2]


def detail(code: str, message: str) -> str:
    """Return what AWS or its client said, on one line. It may name the endpoint as the settings have it, with a password."""
    text = _USER_OF_URL.sub("://...@", " ".join(message.split()))[:LONGEST_DETAIL].rstrip(".")
    return ": ".join(part for part in (code, text) if part) + "."


def check_answer(http_response: Any, **_: Any) -> None:
    """Refuse a success that did not come from SQS, such as a proxy's page: the client would read it as an empty queue.

    The client calls this after each answer. SQS sends a request id and its own content type; emulators send at least
    one of them.
    """
    if http_response.status_code >= 300:
        return
    headers = {name.lower(): value for name, value in http_response.headers.items()}
    kind = headers.get("content-type", "none")
    if "x-amzn-requestid" not in headers and not kind.startswith("application/x-amz-json"):
        raise ValueError(f"it has no request id, and its content type is {kind[:80]}")
    # SQS answers deletes and releases with an empty body.
    if http_response.content and not isinstance(json.loads(http_response.content), dict):
        raise TypeError("its body is not a JSON object")
