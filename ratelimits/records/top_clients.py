"""The busiest clients of a policy in the last hour, from the records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import connection

from opsconsole.kit.bounded_columns import cut_in_statement
from ratelimits.models.record import TABLE

MAX_CLIENTS = 10
# Records are kept per minute, so a client's busiest minute is the finest figure that they give.
BUSIEST_CLIENTS = f"""
WITH minutes AS (
    SELECT key, created_at, sum(hits) AS asked, sum(hits) FILTER (WHERE outcome IN ('limited', 'shadow')) AS too_many
      FROM {TABLE.aliased_rows}
     WHERE policy = %s AND created_at >= statement_timestamp() - interval '1 hour'
     GROUP BY key, created_at
)
SELECT {cut_in_statement("key")}, max(asked), sum(asked), coalesce(sum(too_many), 0) FROM minutes
 GROUP BY key ORDER BY max(asked) DESC, key LIMIT %s
"""  # noqa: S608 - constants


@dataclass(frozen=True)
class TopClient:
    """A client's requests in the last hour. ``peak``: those in its busiest minute."""

    key: str
    peak: int
    requests: int
    over_limit: int


def busiest_clients(policy: str) -> Sequence[TopClient]:
    """Return at most ``MAX_CLIENTS`` clients, the busiest first."""
    with connection.cursor() as cursor:
        cursor.execute(BUSIEST_CLIENTS, [policy, MAX_CLIENTS])
        return [TopClient(*row) for row in cursor.fetchall()]
