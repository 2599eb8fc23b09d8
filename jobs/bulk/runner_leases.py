"""How long a runner holds a bulk operation, and how the cluster is asked to work."""

from __future__ import annotations

from datetime import timedelta

from django_q.tasks import async_task

TASK = "jobs.tasks.bulk"
# How long a chunk may take before another runner may take over, and how long the lease lasts between chunks.
CHUNK_LEASE = timedelta(seconds=75)
BETWEEN_CHUNKS = timedelta(seconds=10)


def wake() -> None:
    """Ask the cluster to work now, in the transaction of the change. The schedule does so every minute anyway."""
    async_task(TASK, group="bulk operations")
