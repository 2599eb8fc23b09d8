"""How many rows each candidate gets, and in what state: the same for all, and the same in each run.

Where the running jobs lie matters: each page of a table or index that is changed for the first time after a
checkpoint is logged whole. ``newest``: they are every second of the newest rows. ``scattered``: they are
every hundredth of all. Every second running job is stale. Live ones beat a day ahead of the clock, so that they are
live however long the measurements take.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

THRESHOLD = timedelta(minutes=10)
STALE_BEAT = "now() - interval '20 minutes'"
LIVE_BEAT = "now() + interval '1 day'"


@dataclass(frozen=True)
class Shape:
    """``rows`` jobs in all, one in a hundred in progress, half of these stale."""

    rows: int
    layout: str = "newest"

    @property
    def running(self) -> int:
        return self.rows // 100

    @property
    def stale(self) -> int:
        return self.running // 2

    def numbered(self) -> str:
        """SQL: a row ``(n, running, stale, at)`` for each job; ``n`` counts from 1, and ``at`` is when it began."""
        behind, step = (self.rows - 2 * self.running, 2) if self.layout == "newest" else (0, 100)
        return f"""
            (SELECT n, n > {behind} AND n % {step} = 0 AS running, n > {behind} AND n % {2 * step} = 0 AS stale,
                    now() - interval '30 minutes' - interval '10 minutes' * ({self.rows} - n) / {self.rows} AS at
               FROM generate_series(1, {self.rows}) AS n) AS job"""
