"""What the cluster calls by the clock (``opsconsole.schedules``)."""

from __future__ import annotations

from ratelimits import gauges, records, troubles


def cleanup() -> str:
    deleted = records.cleanup()
    troubles.settle()
    return f"deleted {deleted} records"


def watch() -> str:
    return f"{gauges.RULE}: {gauges.watch()}"
