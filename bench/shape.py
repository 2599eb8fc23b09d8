"""The rows of each candidate: how many and in which state, equal for all candidates and all runs.

The position of the running jobs matters: PostgreSQL logs each page of a table or index whole when it first changes
after a checkpoint. ``newest``: every second one of the newest rows runs. ``scattered``: every hundredth of all rows
runs. Every second running job is stale. The workers of live jobs have a heartbeat one day in the future, so that they
stay live however long the measurements take.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

THRESHOLD = timedelta(minutes=10)
STALE_BEAT = "now() - interval '20 minutes'"
LIVE_BEAT = "now() + interval '1 day'"


@dataclass(frozen=True)
class Shape:
    """``rows`` jobs in total; one in a hundred is in progress, and half of these are stale."""

    rows: int
    layout: str = "newest"

    @property
    def running(self) -> int:
        return self.rows // 100

    @property
    def stale(self) -> int:
        return self.running // 2

    def numbered(self) -> str:
        """Return SQL for a row ``(n, running, stale, at)`` per job; ``n`` counts from 1, ``at`` is its start."""
        behind, step = (self.rows - 2 * self.running, 2) if self.layout == "newest" else (0, 100)
        return f"""
            (SELECT n, n > {behind} AND n % {step} = 0 AS running, n > {behind} AND n % {2 * step} = 0 AS stale,
                    now() - interval '30 minutes' - interval '10 minutes' * ({self.rows} - n) / {self.rows} AS at
               FROM generate_series(1, {self.rows}) AS n) AS job"""
