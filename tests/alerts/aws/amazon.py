"""A fake Amazon SNS that signs like SNS, with its own certificate, and records what is fetched from it."""

from __future__ import annotations

import base64
import json
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.x509.oid import NameOID
from django.test import Client

from alerts.aws import sns

REGION = "eu-west-1"
TOPIC = f"arn:aws:sns:{REGION}:123456789012:opsconsole-dlq-alarms"
HOST = f"https://sns.{REGION}.amazonaws.com/"
CERTIFICATE = HOST + "SimpleNotificationService-0123456789abcdef.pem"
SUBSCRIBE = HOST + f"?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=secret-token"
KEY = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
# The signed fields in alphabetical order, as Amazon's documentation lists them.
SIGNED = ("Message", "MessageId", "SubscribeURL", "Subject", "Timestamp", "Token", "TopicArn", "Type")


def certificate(key: rsa.RSAPrivateKey = KEY, *, days: int = 30) -> bytes:
    """Return a self-signed certificate that is valid for this many days."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    now = datetime.now(UTC)
    signed_certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=100))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, SHA256())
    )
    return signed_certificate.public_bytes(serialization.Encoding.PEM)


@dataclass
class Amazon:
    """``pages``: the content by URL. For other URLs, Amazon is unavailable."""

    pages: dict[str, bytes] = field(default_factory=lambda: {CERTIFICATE: certificate(), SUBSCRIBE: b"<ok/>"})
    fetched: list[str] = field(default_factory=list)

    def fetch(self, url: str) -> bytes:
        self.fetched.append(url)
        if url not in self.pages:
            raise sns.AmazonUnavailable("Amazon did not answer.")
        return self.pages[url]


def timestamp(ago: timedelta = timedelta(0)) -> str:
    return f"{(datetime.now(UTC) - ago).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def envelope(kind: str = "Notification", *, ago: timedelta = timedelta(0), **fields: Any) -> dict[str, Any]:
    """Return an unsigned message. Fields given as None are left out."""
    message = {
        "Type": kind,
        "MessageId": str(uuid.uuid4()),
        "TopicArn": TOPIC,
        "Message": "hello",
        "Timestamp": timestamp(ago),
        "SigningCertURL": CERTIFICATE,
    }
    if kind == "Notification":
        message["UnsubscribeURL"] = HOST + "?Action=Unsubscribe"
    else:
        message |= {"Token": "secret-token", "SubscribeURL": SUBSCRIBE}
    return {name: value for name, value in (message | fields).items() if value is not None}


def signed(message: dict[str, Any], key: rsa.RSAPrivateKey = KEY, *, version: str = "2") -> dict[str, Any]:
    text = "".join(f"{name}\n{message[name]}\n" for name in SIGNED if name in message)
    algorithm = SHA1() if version == "1" else SHA256()
    signature = key.sign(text.encode(), padding.PKCS1v15(), algorithm)
    return message | {"SignatureVersion": version, "Signature": base64.b64encode(signature).decode()}


def alarm(
    state: str = "ALARM", *, name: str = "opsconsole-jobs-dlq-not-empty", at: str | None = None, **fields: Any
) -> str:
    """Return the text that CloudWatch publishes when an alarm changes."""
    return json.dumps(
        {
            "AlarmName": name,
            "AlarmDescription": "Messages wait in the dead letter queue jobs-dlq.",
            "AWSAccountId": "123456789012",
            "NewStateValue": state,
            "NewStateReason": "Threshold Crossed: 1 datapoint [3.0] was greater than the threshold (0.0).",
            "StateChangeTime": at or f"{datetime.now(UTC).isoformat(timespec='milliseconds')[:-6]}+0000",
            "Region": "EU (Ireland)",
            "OldStateValue": "OK",
            "Trigger": {
                "MetricName": "ApproximateNumberOfMessagesVisible",
                "Namespace": "AWS/SQS",
                "Dimensions": [{"value": "jobs-dlq", "name": "QueueName"}],
                "Threshold": 0.0,
            },
        }
        | fields
    )


def post(message: dict[str, Any] | bytes, kind: str | None = None, **headers: str) -> Any:
    """Post to the console as SNS does: JSON with the content type of plain text."""
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    if kind is None:
        kind = str(message["Type"]) if isinstance(message, dict) else "Notification"
    return Client(enforce_csrf_checks=True).generic(
        "POST",
        "/hooks/sns",
        body,
        content_type="text/plain; charset=UTF-8",
        headers={"x-amz-sns-message-type": kind} | headers,
    )
