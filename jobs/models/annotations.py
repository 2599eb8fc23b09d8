"""The names and types of the columns that QuerySet methods add to each row."""

from __future__ import annotations

from datetime import datetime
from typing import TypedDict


class LifeColumns(TypedDict):
    """Added by ``Job.objects.with_signs_of_life()``."""

    beat_at: datetime | None
    worker_beat_at: datetime | None
    outage_ended_at: datetime | None
    last_seen: datetime
    stale_before: datetime
    death_proven: bool
    given_up_before: datetime | None
    read_at: datetime


class EvidenceColumns(LifeColumns):
    """Added by ``Job.objects.with_evidence()``."""

    recent_recoveries: int
    failed_deliveries: int


class MessageColumns(TypedDict):
    """Added by ``Job.objects.with_message()``."""

    message_state: str | None
    message_trouble: str | None
    resends: int
    waiting_since: datetime
    read_at: datetime
