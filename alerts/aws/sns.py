"""Amazon SNS over HTTPS: parsing messages, verifying their signatures, and confirming subscriptions.

No other module knows SNS. Anybody can call the endpoint, so a message has no effect before its signature is verified.
The certificate for that comes only from SNS in the topic's own region. The rules are those of
https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from urllib.parse import parse_qs, urlsplit

import requests
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, HashAlgorithm
from django.conf import settings
from django.utils import timezone

from opsconsole.kit.errors import OpsConsoleError

# An SNS message has at most 256 KiB, but grows when it is encoded as JSON within JSON.
LARGEST_BODY = 1_048_576
LARGEST_ANSWER = 65_536
# SNS retries for at most an hour (see deploy/), and its clock or ours may be slightly wrong.
MAX_AGE = timedelta(minutes=65)
MAX_AHEAD = timedelta(minutes=5)

CONNECT_SECONDS, READ_SECONDS, TOTAL_SECONDS = 3.0, 5.0, 10.0
CERTIFICATE_SECONDS = 24 * 3_600.0
CERTIFICATES_KEPT = 8
# Unverified callers must not make all threads of the server wait for Amazon.
MAX_CONCURRENT_FETCHES = 2

TOPIC = re.compile(
    r"arn:(aws|aws-cn|aws-us-gov):sns:([a-z]{2,4}(?:-[a-z]+)+-\d+):(\d{12}):([A-Za-z0-9_-]{1,256})"
)
HASHES: dict[str, type[HashAlgorithm]] = {"1": SHA1, "2": SHA256}
VERSION_1_REFUSED = (
    "The topic signs with version 1 (SHA-1), which is not accepted: set the attribute SignatureVersion of the topic to 2, or "
    "OPSCONSOLE_SNS_SIGNATURE_VERSION_1=true."
)


class Kind(StrEnum):
    NOTIFICATION = "Notification"
    SUBSCRIBED = "SubscriptionConfirmation"
    UNSUBSCRIBED = "UnsubscribeConfirmation"


class Refused(OpsConsoleError):
    """The message has no effect. The text is for the log only; the caller gets just the status."""

    status = 403


class Malformed(Refused):
    """The request is not a message in the format of SNS."""

    status = 400


class AmazonUnavailable(Refused):
    """Amazon could not be asked. SNS will send the message again."""

    status = 503


@dataclass(frozen=True, kw_only=True)
class Message:
    """A message from SNS, to be trusted only after ``verify``. ``text`` was published; ``subject`` may be empty."""

    kind: Kind
    id: str
    topic: str
    subject: str
    text: str
    sent_at: datetime
    fields: dict[str, str]

    @property
    def region(self) -> str:
        return self._topic_part(2)

    @property
    def account(self) -> str:
        return self._topic_part(3)

    @property
    def topic_name(self) -> str:
        return self._topic_part(4)

    @property
    def host(self) -> str:
        """The host name of SNS in the topic's region."""
        end = ".cn" if self._topic_part(1) == "aws-cn" else ""
        return f"sns.{self.region}.amazonaws.com{end}"

    def _topic_part(self, number: int) -> str:
        match = TOPIC.fullmatch(self.topic)
        return match[number] if match else ""


def read(body: bytes, kind: str) -> Message:
    """Parse a request with this ``kind`` in its header.

    Raise ``Malformed`` if it is not a message from SNS, or ``Refused`` if the settings do not list its topic.
    """
    if kind not in set(Kind):
        raise Malformed("The message has an unknown type.")
    fields = _fields(body)
    if fields.get("Type") != kind:
        raise Malformed("The header and the body of the message name different types.")
    topic = _required(fields, "TopicArn")
    if topic not in settings.OPSCONSOLE_SNS_TOPICS:
        raise Refused("OPSCONSOLE_SNS_TOPICS does not list the topic of the message.")
    return Message(
        kind=Kind(kind),
        id=_required(fields, "MessageId"),
        topic=topic,
        subject=fields.get("Subject", ""),
        text=_required(fields, "Message"),
        sent_at=parse_time(_required(fields, "Timestamp")),
        fields=fields,
    )


def _fields(body: bytes) -> dict[str, str]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Malformed("The body is not JSON.") from error
    if not isinstance(document, dict):
        raise Malformed("The body is not a JSON object.")
    # Null means that a field is missing. Values other than strings (message attributes) are not signed, so not read.
    return {name: value for name, value in document.items() if isinstance(value, str)}


def _required(fields: dict[str, str], name: str) -> str:
    if not fields.get(name):
        raise Malformed(f"The message has no {name}.")
    return fields[name]


def parse_time(text: str) -> datetime:
    """Parse an ISO 8601 time with an offset. Raise ``Malformed`` if it is not one."""
    try:
        time_sent = datetime.fromisoformat(text)
    except ValueError as error:
        raise Malformed("The Timestamp is not a time.") from error
    if time_sent.tzinfo is None:
        raise Malformed("The Timestamp has no UTC offset.")
    return time_sent


def verify(message: Message) -> None:
    """Verify that SNS signed the message recently.

    Raise ``Refused`` if it did not, or ``AmazonUnavailable`` if the certificate cannot be fetched.
    """
    age = timezone.now() - message.sent_at
    if not -MAX_AHEAD <= age <= MAX_AGE:
        raise Refused("The message is too old, or its time is in the future.")
    algorithm = _algorithm(message.fields.get("SignatureVersion", ""))
    key = _key(_certificate_url(message))
    try:
        signature = base64.b64decode(message.fields.get("Signature", ""), validate=True)
        key.verify(signature, _signed(message), padding.PKCS1v15(), algorithm())
    except (binascii.Error, ValueError, InvalidSignature) as error:
        raise Refused("The signature is not valid.") from error


def _algorithm(version: str) -> type[HashAlgorithm]:
    if version not in HASHES:
        raise Refused("The signature has an unknown version.")
    if version == "1" and not settings.OPSCONSOLE_SNS_SIGNATURE_VERSION_1:
        raise Refused(VERSION_1_REFUSED)
    return HASHES[version]


def _signed(message: Message) -> bytes:
    """Return the text that SNS signs: the name and the value of each of these fields, on a line each."""
    names = (
        ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
        if message.kind == Kind.NOTIFICATION
        else ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
    )
    lines = [f"{name}\n{message.fields[name]}\n" for name in names if name in message.fields]
    return "".join(lines).encode("utf-8", "surrogatepass")


def _certificate_url(message: Message) -> str:
    url = message.fields.get("SigningCertURL", "")
    # Match the whole text rather than a parsed URL, since URL parsers disagree.
    if not re.fullmatch(rf"https://{re.escape(message.host)}/[A-Za-z0-9._-]{{1,200}}\.pem", url):
        raise Refused("The certificate is not from SNS in the topic's region.")
    return url


def confirm(message: Message) -> None:
    """Confirm the subscription at SNS. Doing so twice is harmless.

    Raise ``Refused`` if the link does not confirm it, or ``AmazonUnavailable`` if SNS does not answer.
    """
    url = message.fields.get("SubscribeURL", "")
    if not re.fullmatch(rf"https://{re.escape(message.host)}/\?[!-~]{{1,2000}}", url):
        raise Refused("The confirmation link does not lead to SNS in the topic's region.")
    query = parse_qs(urlsplit(url).query)
    if (query.get("Action"), query.get("TopicArn")) != (["ConfirmSubscription"], [message.topic]):
        raise Refused("The confirmation link does not confirm a subscription to the topic.")
    _fetch(url)


_certificates: dict[str, tuple[float, rsa.RSAPublicKey]] = {}
_fetches = threading.BoundedSemaphore(MAX_CONCURRENT_FETCHES)


def _key(url: str) -> rsa.RSAPublicKey:
    """Return the public key of the certificate at this URL, which is fetched once per day."""
    until, cached = _certificates.get(url, (0.0, None))
    if cached is not None and time.monotonic() < until:
        return cached
    key = _parse(_fetch(url))
    if len(_certificates) >= CERTIFICATES_KEPT:
        _certificates.clear()
    _certificates[url] = (time.monotonic() + CERTIFICATE_SECONDS, key)
    return key


def _parse(pem: bytes) -> rsa.RSAPublicKey:
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Refused("The certificate cannot be parsed.") from error
    if not isinstance(key, rsa.RSAPublicKey):
        raise Refused("The certificate has no RSA key.")
    if not certificate.not_valid_before_utc <= timezone.now() <= certificate.not_valid_after_utc:
        raise Refused("The certificate has expired or is not valid yet.")
    return key


def _fetch(url: str) -> bytes:
    if not _fetches.acquire(blocking=False):
        raise AmazonUnavailable("Too many other requests are waiting for Amazon.")
    try:
        return fetch(url)
    finally:
        _fetches.release()


def get(url: str) -> bytes:
    """Fetch at most 64 KiB from a URL, within ten seconds and without redirects. Raise ``AmazonUnavailable``."""
    give_up_at = time.monotonic() + TOTAL_SECONDS
    try:
        with requests.get(
            url, timeout=(CONNECT_SECONDS, READ_SECONDS), allow_redirects=False, stream=True
        ) as response:
            if response.status_code != 200:
                raise AmazonUnavailable(f"Amazon answered with status {response.status_code}.")
            return _content(response, give_up_at)
    except requests.RequestException as error:
        # The error's text would show the URL, which contains a token.
        raise AmazonUnavailable(f"Amazon did not answer: {type(error).__name__}.") from None


def _content(response: requests.Response, give_up_at: float) -> bytes:
    content = b""
    for chunk in response.iter_content(8_192):
        content += chunk
        if len(content) > LARGEST_ANSWER or time.monotonic() > give_up_at:
            raise AmazonUnavailable("Amazon's answer was too long or too slow.")
    return content


# Tests replace this function.
fetch: Callable[[str], bytes] = get
