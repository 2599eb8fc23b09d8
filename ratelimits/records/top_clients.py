"""Whom a policy limits now, or would: the busiest clients of the last hour, from the records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import connection

SHOWN = 10
# The busiest minute of each client; the records don't tell more than that.
ASK = """
WITH minutes AS (
    SELECT key, created_at, sum(hits) AS asked, sum(hits) FILTER (WHERE outcome IN ('limited', 'shadow')) AS too_many
      FROM rate_limit_requests
     WHERE policy = %s AND created_at >= statement_timestamp() - interval '1 hour'
     GROUP BY key, created_at
)
SELECT key, max(asked), sum(asked), coalesce(sum(too_many), 0) FROM minutes
 GROUP BY key ORDER BY max(asked) DESC, key LIMIT %s
"""


@dataclass(frozen=True)
class Client:
    """One client in the last hour. ``peak``: requests in its busiest minute."""

    key: str
    peak: int
    asked: int
    too_many: int

    def exceeds(self, limit: int, window: int) -> bool:
        """Whether its busiest minute alone was more than a limit allows in as many ``window`` seconds."""
        return self.peak > limit * max(1, 60 / window)


def clients(policy: str) -> Sequence[Client]:
    """The busiest first, at most ``SHOWN``."""
    with connection.cursor() as cursor:
        cursor.execute(ASK, [policy, SHOWN])
        return [Client(*row) for row in cursor.fetchall()]
