"""The reason that accompanies a malformed message to the dead letter queue, within the limits of SQS. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from opsconsole_worker.sqs import BATCH_BYTES, Attribute, Outgoing, Received

MOST_ATTRIBUTES = 10
POISON_ATTRIBUTE = "opsconsole_reason"
# The id of the message of which the dead letter is a copy, so that a replay which comes back is recognised.
COPY_OF_ATTRIBUTE = "opsconsole_copy_of"
OURS = frozenset({POISON_ATTRIBUTE, COPY_OF_ATTRIBUTE})


def with_reason(received: Received, reason: str) -> Mapping[str, Attribute]:
    """Return the attributes of the dead letter: those of the message, the reason as far as there is room, and of what it is a copy.

    The message's own attributes belong to its consumers, so it is ours that give way: SQS allows ten attributes,
    and counts them with the body. The whole reason is in the worker's log.
    """
    theirs = {name: value for name, value in received.attributes.items() if name not in OURS}
    if len(theirs) >= MOST_ATTRIBUTES:
        return theirs
    # Measured with the reason as it is sent, in which a character may have been replaced.
    why = Attribute.text(reason)
    room = _room(received.body, theirs | {POISON_ATTRIBUTE: why})
    text = str(why.value).encode()
    beginning = text[: max(0, len(text) + min(0, room))].decode("utf-8", "ignore")
    attributes = theirs | {POISON_ATTRIBUTE: Attribute(beginning)} if beginning else theirs
    copied = attributes | {COPY_OF_ATTRIBUTE: Attribute.text(received.message_id)}
    fits = len(copied) <= MOST_ATTRIBUTES and _room(received.body, copied) >= 0
    return copied if beginning and fits else attributes


def _room(body: str, attributes: Mapping[str, Attribute]) -> int:
    """Return how many more bytes SQS would accept; negative when it is too much."""
    return BATCH_BYTES - Outgoing(key="", body=body, attributes=attributes).size
