"""What the cluster calls by the clock (``opsconsole.schedules``)."""

from __future__ import annotations

from ratelimits import gauges, records


def cleanup() -> str:
    return f"deleted {records.cleanup()} records"


def watch() -> str:
    return f"{gauges.RULE}: {gauges.watch()}"
