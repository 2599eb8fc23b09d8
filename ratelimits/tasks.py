"""What the cluster calls by the clock (``opsconsole.schedules``)."""

from __future__ import annotations

from ratelimits import records, troubles


def cleanup() -> str:
    deleted = records.cleanup()
    troubles.settle()
    return f"deleted {deleted} records"
