"""The reason that a poison message takes along to the dead letter queue, as far as SQS takes both. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from jobs.sqs import BATCH_BYTES, Attribute, Outgoing, Received

MOST_ATTRIBUTES = 10
POISON_ATTRIBUTE = "opsconsole_reason"


def with_reason(received: Received, reason: str) -> Mapping[str, Attribute]:
    """The attributes of the dead letter: the message's own and the reason.

    SQS counts them with the body, which may be as large as SQS allows: then its own give way first, then the
    reason's end. A full body goes without its reason, which the worker's log tells.
    """
    why = {POISON_ATTRIBUTE: Attribute.text(reason)}
    both = dict(received.attributes) | why
    if len(both) <= MOST_ATTRIBUTES and _room(received.body, both) >= 0:
        return both
    beginning = reason.encode()[: max(0, len(reason.encode()) + _room(received.body, why))]
    shortened = beginning.decode("utf-8", "ignore")
    return {POISON_ATTRIBUTE: Attribute.text(shortened)} if shortened else {}


def _room(body: str, attributes: Mapping[str, Attribute]) -> int:
    """How many bytes SQS would still take; negative when it is too much."""
    return BATCH_BYTES - Outgoing(key="", body=body, attributes=attributes).size
