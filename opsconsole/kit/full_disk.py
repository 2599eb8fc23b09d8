"""Whether the disk of the database is full, as far as the writes of this process tell: nothing else asks without writing."""

from __future__ import annotations

import time

# A process that has not tried to write since knows nothing.
BELIEVED_FOR_SECONDS = 300.0

_seen_at: float | None = None


def note_refused_write() -> None:
    global _seen_at  # noqa: PLW0603 - one per process
    _seen_at = time.monotonic()


def note_write() -> None:
    global _seen_at  # noqa: PLW0603 - one per process
    _seen_at = None


def is_full() -> bool:
    """Tell whether the last write of this process failed lately because the disk is full."""
    return _seen_at is not None and time.monotonic() - _seen_at < BELIEVED_FOR_SECONDS
