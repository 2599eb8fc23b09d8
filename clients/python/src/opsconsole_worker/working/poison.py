"""The reason that accompanies a malformed message to the dead letter queue, within the limits of SQS. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from opsconsole_worker.sqs import BATCH_BYTES, Attribute, Outgoing, Received

MOST_ATTRIBUTES = 10
POISON_ATTRIBUTE = "opsconsole_reason"


def with_reason(received: Received, reason: str) -> Mapping[str, Attribute]:
    """Return the attributes of the dead letter: those of the message, and the reason as far as there is room.

    The message's own attributes belong to its consumers, so it is the reason that gives way: SQS allows ten attributes,
    and counts them with the body. The whole reason is in the worker's log.
    """
    theirs = {name: value for name, value in received.attributes.items() if name != POISON_ATTRIBUTE}
    if len(theirs) >= MOST_ATTRIBUTES:
        return theirs
    # Measured with the reason as it is sent, in which a character may have been replaced.
    why = Attribute.text(reason)
    room = _room(received.body, theirs | {POISON_ATTRIBUTE: why})
    text = str(why.value).encode()
    beginning = text[: max(0, len(text) + min(0, room))].decode("utf-8", "ignore")
    return theirs | {POISON_ATTRIBUTE: Attribute(beginning)} if beginning else theirs


def _room(body: str, attributes: Mapping[str, Attribute]) -> int:
    """Return how many more bytes SQS would accept; negative when it is too much."""
    return BATCH_BYTES - Outgoing(key="", body=body, attributes=attributes).size
