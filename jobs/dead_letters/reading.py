"""What a message on a dead letter queue says: of which job it is, who could not deliver it, and the fingerprint of its failure."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.conf import settings

from jobs.dead_letters import envelopes, redaction, undelivered
from jobs.dead_letters.envelopes import NamedRun
from jobs.dead_letters.fingerprint import Fingerprint, fingerprint
from jobs.dead_letters.undelivered import Undelivered
from jobs.models import DeadLetter
from opsconsole.kit.storable import plain_text
from opsconsole_worker.messages import JobMessage, MalformedMessage, parse_body
from opsconsole_worker.quoted_values import PLACEHOLDER
from opsconsole_worker.sqs import BATCH_BYTES, Attribute
from opsconsole_worker.working.poison import POISON_ATTRIBUTE

# The system attribute with which SQS names the queue from which it moved a message.
SOURCE_ARN = "DeadLetterQueueSourceArn"


@dataclass(frozen=True)
class ReadMessage:
    """The parsed content of a message.

    ``message`` None: it is not the message of a job. ``run``: the job that it names, also inside an envelope.
    ``failed_delivery``: what a service says that could not deliver it; ``shown_delivery``: the same, redacted.
    ``document`` is redacted.
    """

    message: JobMessage | None
    run: NamedRun | None
    failed_delivery: Undelivered | None
    shown_delivery: Undelivered | None
    poison: str
    document: Any


def read(body: str, attributes: Mapping[str, Attribute], system_attributes: Mapping[str, str]) -> ReadMessage:
    """Read a message, as it was received or as it is stored."""
    try:
        message = parse_body(body, BATCH_BYTES)
    except MalformedMessage:
        message = None
    content, is_json = redaction.read(body)
    document = content if is_json else None
    if message:
        run: NamedRun | None = NamedRun(message.job_id, message.run_epoch)
    else:
        run = envelopes.run_in(document, settings.OPSCONSOLE_JOB_ID_PATHS)
    poison = attributes.get(POISON_ATTRIBUTE)
    failed_delivery = _failed_delivery(attributes, system_attributes, document)
    # Last, because it changes the document.
    shown = redaction.redact(document) if is_json else None
    return ReadMessage(
        message,
        run,
        failed_delivery,
        _redacted(failed_delivery, attributes, shown),
        redaction.redact_attributes({POISON_ATTRIBUTE: stored(poison)})[POISON_ATTRIBUTE] if poison else "",
        shown,
    )


def fingerprint_of(read_message: ReadMessage, error: str) -> Fingerprint:
    """Return the fingerprint of the failure; ``error``: that of its job, '' when unknown."""
    return fingerprint(
        poison=read_message.poison,
        undelivered=read_message.shown_delivery,
        error=error,
        given=given_reason(read_message),
        document=read_message.document,
        is_job=read_message.run is not None,
    )


def given_reason(read_message: ReadMessage) -> str:
    """Return the reason in the body of a copy that a worker or the console put on a dead letter queue; '' in other messages."""
    document = read_message.document
    is_copy = read_message.message is not None and read_message.message.dead_letter_id is not None
    return str(document.get("reason") or "") if is_copy and isinstance(document, dict) else ""


def of_letter(letter: DeadLetter) -> ReadMessage:
    """Read a stored letter again."""
    return read(letter.body, attributes_of(letter), letter.system_attributes)


def shown_addressee(letter: DeadLetter) -> str:
    """Return to whom it could not be delivered, as far as the redaction lets it be shown."""
    if not (letter.addressee and settings.OPSCONSOLE_REDACT_PATHS):
        return letter.addressee
    shown = of_letter(letter).shown_delivery
    return shown.addressee if shown else PLACEHOLDER


def _failed_delivery(
    attributes: Mapping[str, Attribute], system_attributes: Mapping[str, str], document: Any
) -> Undelivered | None:
    """Return what a service says that could not deliver it; nothing of messages that were in a queue before."""
    if SOURCE_ARN in system_attributes or POISON_ATTRIBUTE in attributes:
        return None
    texts = {name: value.value for name, value in attributes.items() if isinstance(value.value, str)}
    return undelivered.read(texts, document)


def _redacted(
    delivery: Undelivered | None, attributes: Mapping[str, Attribute], document: Any
) -> Undelivered | None:
    """Return what the service says as it may be shown: redaction also hides attributes, and what the service is not."""
    if delivery is None or not settings.OPSCONSOLE_REDACT_PATHS:
        return delivery
    texts = redaction.redact_attributes(
        {name: stored(value) for name, value in attributes.items() if isinstance(value.value, str)}
    )
    shown = undelivered.read(texts, document)
    if shown is not None and shown.service == delivery.service:
        return shown
    # What says which service it was is hidden itself.
    hidden = {
        name: PLACEHOLDER for name in ("code", "message", "rule", "addressee") if getattr(delivery, name)
    }
    return replace(delivery, **hidden)


def stored(attribute: Attribute) -> dict[str, str]:
    """Return a message attribute as it is stored."""
    if isinstance(attribute.value, bytes):
        return {"type": attribute.type, "base64": base64.b64encode(attribute.value).decode()}
    return {"type": attribute.type, "value": plain_text(attribute.value)}


def attributes_of(letter: DeadLetter) -> dict[str, Attribute]:
    """Return the message attributes of a stored letter."""
    return {
        name: Attribute(base64.b64decode(kept["base64"]) if "base64" in kept else kept["value"], kept["type"])
        for name, kept in letter.attributes.items()
    }
