"""The demo's output: one line per event, with a time in UTC and its source."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from uuid import UUID


def say(who: str, sentence: str, at: datetime | None = None) -> None:
    """Print one line. ``at`` is when it happened, if not now."""
    moment = (at or datetime.now(UTC)).astimezone(UTC)
    sys.stdout.write(f"{moment:%H:%M:%S}  {who:<10}  {sentence}\n")
    sys.stdout.flush()


def short(job_id: UUID) -> str:
    """Return the first characters of an id, enough to find it on a page."""
    return job_id.hex[:8]
