"""How many rows each candidate gets, and what state they are in: the same for all, and the same in each run.

The runs in progress are every second of the newest rows, as in life, and every second of these is stale.
Live ones beat a day ahead of the clock, so that they are live however long the measurements take.
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

    @property
    def running(self) -> int:
        return self.rows // 100

    @property
    def stale(self) -> int:
        return self.running // 2

    def numbered(self) -> str:
        """SQL: a row ``(n, running, stale)`` for each job; ``n`` counts from 1, the newest last."""
        first = self.rows - 2 * self.running
        return (
            f"(SELECT n, n > {first} AND n % 2 = 0 AS running, n > {first} AND n % 4 = 0 AS stale"
            f" FROM generate_series(1, {self.rows}) AS n) AS job"
        )
