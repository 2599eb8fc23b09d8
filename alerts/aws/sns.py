"""Amazon SNS over HTTPS: what a message is, and whether SNS wrote it. The only module that knows SNS.

Anybody may call the endpoint, so a message counts for nothing until its signature does. The certificate that
checks it is taken from the topic's own region of SNS and from nowhere else. The source of the rules:
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
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, HashAlgorithm
from django.conf import settings
from django.utils import timezone

from opsconsole.kit.errors import OpsConsoleError

# A message of SNS is 256 KiB at most; as JSON within JSON it grows.
LARGEST_BODY = 1_048_576
LARGEST_ANSWER = 65_536
# SNS tries for an hour at the longest (deploy/), and its clock or ours may be off by a little.
OLDEST = timedelta(minutes=65)
AHEAD = timedelta(minutes=5)

CONNECT_SECONDS, READ_SECONDS, WHOLE_SECONDS = 3.0, 5.0, 10.0
CERTIFICATE_SECONDS = 24 * 3_600.0
CERTIFICATES_KEPT = 8
# Callers that nobody knows yet may not keep all threads of the server waiting for Amazon.
FETCHES_AT_ONCE = 2

TOPIC = re.compile(
    r"arn:(aws|aws-cn|aws-us-gov):sns:([a-z]{2,4}(?:-[a-z]+)+-\d+):(\d{12}):([A-Za-z0-9_-]{1,256})"
)
HASHES: dict[str, type[HashAlgorithm]] = {"1": SHA1, "2": SHA256}


class Kind(StrEnum):
    NOTIFICATION = "Notification"
    SUBSCRIBED = "SubscriptionConfirmation"
    UNSUBSCRIBED = "UnsubscribeConfirmation"


class Refused(OpsConsoleError):
    """Not a message that may have an effect. The sentence is for the log; the caller learns the status alone."""

    status = 403


class Malformed(Refused):
    status = 400


class NotNow(Refused):
    """Amazon could not be asked; SNS will try again."""

    status = 503


@dataclass(frozen=True, kw_only=True)
class Message:
    """One message of SNS. ``text`` is what was published; ``subject`` may be empty. Trust it after ``verify``."""

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
        """Where SNS answers for the topic."""
        end = ".cn" if self._topic_part(1) == "aws-cn" else ""
        return f"sns.{self.region}.amazonaws.com{end}"

    def _topic_part(self, number: int) -> str:
        found = TOPIC.fullmatch(self.topic)
        return found[number] if found else ""


def read(body: bytes, kind: str) -> Message:
    """Parse a request whose header says ``kind``. Raises ``Malformed``, or ``Refused`` for a topic not on our list."""
    if kind not in set(Kind):
        raise Malformed("There is no such type of message.")
    fields = _fields(body)
    if fields.get("Type") != kind:
        raise Malformed("Its header and its body name different types.")
    topic = _needed(fields, "TopicArn")
    if topic not in settings.OPSCONSOLE_SNS_TOPICS:
        raise Refused("Its topic is not on the list OPSCONSOLE_SNS_TOPICS.")
    return Message(
        kind=Kind(kind),
        id=_needed(fields, "MessageId"),
        topic=topic,
        subject=fields.get("Subject", ""),
        text=_needed(fields, "Message"),
        sent_at=instant(_needed(fields, "Timestamp")),
        fields=fields,
    )


def _fields(body: bytes) -> dict[str, str]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Malformed("It is no JSON.") from error
    if not isinstance(found, dict):
        raise Malformed("It is no JSON object.")
    # Null stands for "not there"; what is no text (message attributes) is not signed, and so not read.
    return {name: value for name, value in found.items() if isinstance(value, str)}


def _needed(fields: dict[str, str], name: str) -> str:
    if not fields.get(name):
        raise Malformed(f"It has no {name}.")
    return fields[name]


def instant(text: str) -> datetime:
    """An ISO 8601 time with its offset. Raises ``Malformed``."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise Malformed("It names no time.") from error
    if found.tzinfo is None:
        raise Malformed("It names a time without an offset.")
    return found


def verify(message: Message) -> None:
    """Return when SNS signed this message lately; raise ``Refused`` otherwise, ``NotNow`` when that can't be told."""
    age = timezone.now() - message.sent_at
    if not -AHEAD <= age <= OLDEST:
        raise Refused("It is too old, or from the future.")
    algorithm = HASHES.get(message.fields.get("SignatureVersion", ""))
    if algorithm is None:
        raise Refused("Its signature is of no known version.")
    key = _key(_certificate_url(message))
    try:
        signature = base64.b64decode(message.fields.get("Signature", ""), validate=True)
        key.verify(signature, _signed(message), padding.PKCS1v15(), algorithm())
    except (binascii.Error, ValueError, InvalidSignature) as error:
        raise Refused("Its signature is not that of SNS.") from error


def _signed(message: Message) -> bytes:
    """The text that SNS signs: these fields, where they are there, a line for the name and one for the value."""
    names = (
        ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
        if message.kind == Kind.NOTIFICATION
        else ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
    )
    lines = [f"{name}\n{message.fields[name]}\n" for name in names if name in message.fields]
    return "".join(lines).encode("utf-8", "surrogatepass")


def _certificate_url(message: Message) -> str:
    url = message.fields.get("SigningCertURL", "")
    # The whole text is compared, so that no reading of URLs can differ from another.
    if not re.fullmatch(rf"https://{re.escape(message.host)}/[A-Za-z0-9._-]{{1,200}}\.pem", url):
        raise Refused("Its certificate is not kept where SNS keeps those of the topic's region.")
    return url


def confirm(message: Message) -> None:
    """Tell SNS that the subscription is wanted. Raises ``Refused`` or ``NotNow``; doing it twice does no harm."""
    url = message.fields.get("SubscribeURL", "")
    if not re.fullmatch(rf"https://{re.escape(message.host)}/\?[!-~]{{1,2000}}", url):
        raise Refused("It would be confirmed elsewhere than at SNS in the topic's region.")
    asked = parse_qs(urlsplit(url).query)
    if (asked.get("Action"), asked.get("TopicArn")) != (["ConfirmSubscription"], [message.topic]):
        raise Refused("Its link confirms something else than a subscription to its topic.")
    _fetch(url)


_certificates: dict[str, tuple[float, rsa.RSAPublicKey]] = {}
_turns = threading.BoundedSemaphore(FETCHES_AT_ONCE)


def _key(url: str) -> rsa.RSAPublicKey:
    """The public key of the certificate at this address, fetched once a day."""
    until, kept = _certificates.get(url, (0.0, None))
    if kept is not None and time.monotonic() < until:
        return kept
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
        raise Refused("What its address gives is no certificate.") from error
    if not isinstance(key, rsa.RSAPublicKey):
        raise Refused("Its certificate holds no RSA key.")
    if not certificate.not_valid_before_utc <= timezone.now() <= certificate.not_valid_after_utc:
        raise Refused("Its certificate is not valid now.")
    return key


def _fetch(url: str) -> bytes:
    if not _turns.acquire(blocking=False):
        raise NotNow("Others wait for Amazon already.")
    try:
        return fetch(url)
    finally:
        _turns.release()


def get(url: str) -> bytes:
    """What is at this address, at most 64 KiB and ten seconds of it; no redirect is followed. Raises ``NotNow``."""
    give_up_at = time.monotonic() + WHOLE_SECONDS
    try:
        with requests.get(
            url, timeout=(CONNECT_SECONDS, READ_SECONDS), allow_redirects=False, stream=True
        ) as answer:
            if answer.status_code != 200:
                raise NotNow(f"Amazon answered {answer.status_code}.")
            return _content(answer, give_up_at)
    except requests.RequestException as error:
        # Its text would show the address, which holds a token.
        raise NotNow(f"Amazon did not answer: {type(error).__name__}.") from None


def _content(answer: Any, give_up_at: float) -> bytes:
    content = b""
    for chunk in answer.iter_content(8_192):
        content += chunk
        if len(content) > LARGEST_ANSWER or time.monotonic() > give_up_at:
            raise NotNow("Amazon's answer does not end.")
    return content


# Tests put their own Amazon here.
fetch: Callable[[str], bytes] = get
