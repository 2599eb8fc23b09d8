"""Tasks that the cluster runs on a schedule (``opsconsole.cluster.task_table``)."""

from __future__ import annotations

from ratelimits.records import gauges, recording, troubles


def cleanup() -> str:
    deleted = recording.cleanup()
    troubles.remove_ended()
    return f"deleted {deleted} records"


def watch() -> str:
    return f"{gauges.RULE}: {gauges.watch()}"
