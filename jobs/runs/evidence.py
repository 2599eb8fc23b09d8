"""The evidence of a run's life: the columns of a job loaded by ``with_evidence()``, or of a ``StaleRun``.

All times are by the database's clock.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol
from uuid import UUID


class Evidence(Protocol):
    """What a diagnosis reads. ``JobQuerySet.with_evidence()`` explains each time."""

    @property
    def status(self) -> str: ...
    @property
    def worker_id(self) -> str | None: ...
    @property
    def updated_at(self) -> datetime: ...
    @property
    def started_at(self) -> datetime | None: ...
    @property
    def deadline_at(self) -> datetime | None: ...
    @property
    def beat_at(self) -> datetime | None: ...
    @property
    def worker_beat_at(self) -> datetime | None: ...
    @property
    def last_seen(self) -> datetime: ...
    @property
    def stale_before(self) -> datetime: ...
    @property
    def read_at(self) -> datetime: ...


class RecoverableRun(Evidence, Protocol):
    """What a recovery needs besides the evidence: which run it is, and how often its job was recovered."""

    @property
    def pk(self) -> UUID: ...
    @property
    def queue(self) -> str: ...
    @property
    def run_epoch(self) -> int: ...
    @property
    def recovery_count(self) -> int: ...
