"""Messages as the adapter takes and gives them, and the batches in which SQS takes them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

BATCH_ENTRIES = 10
BATCH_BYTES = 1_048_576


@dataclass(frozen=True)
class Attribute:
    """A message attribute: SQS data type ('String', 'Number', 'Binary', 'String.custom') and value."""

    value: str | bytes
    type: str = "String"

    @classmethod
    def text(cls, value: str) -> Attribute:
        """Any text as an attribute that SQS takes: it refuses an empty one and characters foreign to XML."""
        return cls(re.sub("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", value) or "-")


@dataclass(frozen=True, kw_only=True)
class Outgoing:
    """One message to send. ``key`` is the caller's name for it, repeated in its ``SendResult``.

    FIFO queues use ``group_id`` and ``dedup_id`` (default: the key); the others use ``delay_seconds``, of
    which SQS takes 900 at most.
    """

    key: str
    body: str
    delay_seconds: int = 0
    group_id: str | None = None
    dedup_id: str | None = None
    attributes: Mapping[str, Attribute] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """The bytes that SQS counts: body, attribute names, types and values."""
        attributes = sum(
            _bytes(name) + _bytes(attribute.type) + _bytes(attribute.value)
            for name, attribute in self.attributes.items()
        )
        return _bytes(self.body) + attributes


@dataclass(frozen=True)
class SendResult:
    """What became of one message: sent (``message_id``) or not (``error``).

    ``permanent``: it never will be; ``unknown``: it may have been sent all the same.
    """

    key: str
    message_id: str | None = None
    error: str | None = None
    permanent: bool = False
    unknown: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Received:
    """A message in our hands until its visibility timeout ends. ``receive_count`` is approximate."""

    queue_url: str
    message_id: str
    receipt_handle: str
    body: str
    receive_count: int
    sent_at: datetime | None
    attributes: dict[str, Attribute]
    system_attributes: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class QueueDepth:
    """A queue's gauge (approximate counts) and its settings that matter to operators."""

    visible: int
    in_flight: int
    delayed: int
    visibility_timeout_seconds: int
    retention_seconds: int

    @property
    def total(self) -> int:
        return self.visible + self.in_flight + self.delayed


def split_batches(entries: Sequence[Outgoing]) -> list[list[Outgoing]]:
    """In order, in batches that SQS takes: ten entries and 1 MiB; one that alone is larger goes alone."""
    batches: list[list[Outgoing]] = []
    room = 0
    for entry in entries:
        if not batches or len(batches[-1]) == BATCH_ENTRIES or entry.size > room:
            batches.append([])
            room = BATCH_BYTES
        batches[-1].append(entry)
        room -= entry.size
    return batches


def _bytes(value: str | bytes) -> int:
    return len(value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass"))
