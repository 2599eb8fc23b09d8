"""What the cluster calls by the clock (``opsconsole.cluster.schedules``)."""

from __future__ import annotations

from ratelimits.records import gauges, recording, troubles


def cleanup() -> str:
    deleted = recording.cleanup()
    troubles.settle()
    return f"deleted {deleted} records"


def watch() -> str:
    return f"{gauges.RULE}: {gauges.watch()}"
