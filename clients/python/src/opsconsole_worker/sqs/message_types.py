"""The adapter's message types, and the batches that SQS accepts. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final, NamedTuple

BATCH_ENTRIES = 10
BATCH_BYTES = 1_048_576
LONGEST_POLL_SECONDS = 20
# The system attribute that a sender may set: the trace of X-Ray to which the message belongs.
TRACE_HEADER: Final = "AWSTraceHeader"


@dataclass(frozen=True)
class Attribute:
    """A message attribute: SQS data type ('String', 'Number', 'Binary', 'String.custom') and value."""

    value: str | bytes
    type: str = "String"

    @classmethod
    def text(cls, value: str) -> Attribute:
        """Return any text as a valid attribute: SQS refuses empty values and characters outside XML."""
        return cls(re.sub("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", value) or "-")


_NONE: Mapping[str, Attribute] = MappingProxyType({})


class Outgoing(NamedTuple):
    """A message to send. ``key`` is the caller's name for it and is repeated in its ``SendResult``.

    FIFO queues use ``group_id`` and ``dedup_id`` (default: the key); standard queues use ``delay_seconds``, at most 900.
    ``trace_header`` is that of X-Ray; SQS does not count it with the size.
    """

    key: str
    body: str
    delay_seconds: int = 0
    group_id: str | None = None
    dedup_id: str | None = None
    attributes: Mapping[str, Attribute] = _NONE
    trace_header: str | None = None

    @property
    def size(self) -> int:
        """Return the bytes that SQS counts: body, attribute names, types and values."""
        if not self.attributes:
            return _bytes(self.body)
        attributes = sum(
            _bytes(name) + _bytes(attribute.type) + _bytes(attribute.value)
            for name, attribute in self.attributes.items()
        )
        return _bytes(self.body) + attributes


class SendResult(NamedTuple):
    """The outcome of one message: sent (``message_id``) or not (``error``).

    ``permanent``: it can never be sent. ``unknown``: it may have been sent nevertheless.
    """

    key: str
    message_id: str | None = None
    error: str | None = None
    permanent: bool = False
    unknown: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Received:
    """A received message, hidden from others until its visibility timeout ends. ``receive_count`` is approximate."""

    queue_url: str
    message_id: str
    receipt_handle: str
    body: str
    receive_count: int
    sent_at: datetime | None
    attributes: dict[str, Attribute]
    system_attributes: dict[str, str]

    @property
    def trace_header(self) -> str | None:
        return self.system_attributes.get(TRACE_HEADER)


@dataclass(frozen=True, kw_only=True)
class QueueDepth:
    """A queue's approximate counts, and the settings of it that matter to operators."""

    visible: int
    in_flight: int
    delayed: int
    visibility_timeout_seconds: int
    retention_seconds: int

    @property
    def total(self) -> int:
        return self.visible + self.in_flight + self.delayed


def split_batches(entries: Sequence[Outgoing]) -> list[list[Outgoing]]:
    """Split into batches that SQS accepts, in order: ten entries and 1 MiB; a larger entry forms a batch alone."""
    batches: list[list[Outgoing]] = []
    room = 0
    for entry in entries:
        size = entry.size
        if not batches or len(batches[-1]) == BATCH_ENTRIES or size > room:
            batches.append([])
            room = BATCH_BYTES
        batches[-1].append(entry)
        room -= size
    return batches


def _bytes(value: str | bytes) -> int:
    return len(value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass"))
