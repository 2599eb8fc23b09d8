"""The reason that accompanies a malformed message to the dead letter queue, within the limits of SQS. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from jobs.sqs import BATCH_BYTES, Attribute, Outgoing, Received

MOST_ATTRIBUTES = 10
POISON_ATTRIBUTE = "opsconsole_reason"


def with_reason(received: Received, reason: str) -> Mapping[str, Attribute]:
    """Return the attributes of the dead letter: those of the message and the reason.

    SQS counts them with the body, which may already be as large as SQS allows. Then the message's own attributes are
    dropped first, and then the end of the reason. With a full body there is no room for a reason; it is in the worker's log.
    """
    why = {POISON_ATTRIBUTE: Attribute.text(reason)}
    both = dict(received.attributes) | why
    if len(both) <= MOST_ATTRIBUTES and _room(received.body, both) >= 0:
        return both
    beginning = reason.encode()[: max(0, len(reason.encode()) + _room(received.body, why))]
    shortened = beginning.decode("utf-8", "ignore")
    return {POISON_ATTRIBUTE: Attribute.text(shortened)} if shortened else {}


def _room(body: str, attributes: Mapping[str, Attribute]) -> int:
    """Return how many more bytes SQS would accept; negative when it is too much."""
    return BATCH_BYTES - Outgoing(key="", body=body, attributes=attributes).size
