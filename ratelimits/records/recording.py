"""The recording of requests: counted in memory, written every few seconds, kept for an hour, then rolled up per hour.

A request never writes to the database. A process that is killed loses at most the last five seconds of its counts.
"""
# ruff: noqa: S608 - only names from this code and from the operator's file are put together

from __future__ import annotations

import logging
import os

from django.db import DataError, connection, transaction

from opsconsole.kit import removals
from opsconsole.kit.advisory_locks import AdvisoryLock
from opsconsole.kit.row_locks import TO_DELETE_IF_FREE
from opsconsole.kit.storable import plain_text
from ratelimits.models import KEPT, RateLimitHour
from ratelimits.models.record import TABLE
from ratelimits.records.pending_counts import CountKey, PendingCounts

log = logging.getLogger(__name__)

BATCH = 5_000
LONGEST_TEXT = 200
# The id of a row is a hash of what it counts, so that all processes add to the same row.
WRITE = f"""
INSERT INTO {TABLE.aliased} ({", ".join(map(TABLE.sql_column, ("id", "key", "endpoint", "method", "created_at")))},
                             hits, outcome, policy)
SELECT md5(concat_ws(E'\\n', minute, policy, key, endpoint, method, outcome))::uuid AS row_id,
       key, endpoint, method, {TABLE.to_write("created_at", "to_timestamp(minute * 60)")}, hits, outcome, policy
  FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::int[])
       AS counted (minute, policy, key, endpoint, method, outcome, hits)
 ORDER BY row_id
    ON CONFLICT ({TABLE.sql_column("id")}) DO UPDATE SET hits = rate_limit_requests.hits + EXCLUDED.hits
"""
# Deleted rows are added to their hour in the same statement, so that a request is counted in exactly one of the two
# tables. Texts are cut, because rows from other programs may hold more than fits into an index.
_ROLL_UP = """
WITH oldest AS MATERIALIZED (
    SELECT ctid FROM {rows} WHERE created_at < statement_timestamp() - %s * interval '1 second'
     ORDER BY created_at LIMIT %s {to_delete_if_free}
), gone AS (
    DELETE FROM {table} WHERE ctid IN (SELECT ctid FROM oldest) RETURNING {row}
), rolled_up AS (
    INSERT INTO rate_limit_hours (hour, policy, key_hash, endpoint, method, outcome, hits)
    SELECT date_trunc('hour', created_at, 'UTC'), left(policy, 50),
           encode(sha256(convert_to(coalesce((SELECT salt FROM rate_limit_control), '') || key, 'UTF8')), 'hex'),
           left(endpoint, 200), left(method, 20), left(outcome, 20), sum(hits)
      FROM gone GROUP BY 1, 2, 3, 4, 5, 6
        ON CONFLICT (hour, policy, key_hash, endpoint, method, outcome)
        DO UPDATE SET hits = rate_limit_hours.hits + EXCLUDED.hits
)
SELECT count(*) FROM gone
"""

_pending = PendingCounts()


def note(policy: str, key: str, endpoint: str, method: str, outcome: str) -> None:
    """Count one request. ``key``: an ``Identity.value``; ``endpoint``: a route; ``outcome``: an ``Outcome``."""
    _pending.add(policy, key, endpoint, method, outcome)


def flush() -> int:
    """Write the pending counts, and return the number of rows.

    If that raises ``DatabaseError``, the counts wait for the next call.
    """
    counts = _pending.take()
    if not counts:
        return 0
    try:
        _write(counts)
    except DataError:
        # The database would refuse these rows again, so they are not kept.
        log.exception("The database refused %s rate limit records. They are lost.", len(counts))
        return 0
    except BaseException:
        _pending.put_back(counts)
        raise
    return len(counts)


def _write(counts: dict[CountKey, int]) -> None:
    rows = [(key.minute, *(_storable(text) for text in key[1:]), hits) for key, hits in counts.items()]
    with connection.cursor() as cursor:
        cursor.execute(WRITE, [list(column) for column in zip(*rows, strict=True)])


def _storable(text: str) -> str:
    return plain_text(text)[:LONGEST_TEXT]


def discard() -> None:
    """Discard the pending counts."""
    _pending.take()


def _after_fork() -> None:
    # The parent writes what it counted itself.
    global _pending  # noqa: PLW0603 - one per process
    _pending = PendingCounts()


os.register_at_fork(after_in_child=_after_fork)


def cleanup() -> int:
    """Roll up and delete records older than an hour, and return how many were deleted.

    Each batch is a transaction of its own. Rows locked by others are left for the next run, and while another cleanup
    is running, all rows are left to it. The SQL function ``cleanup_rate_limit_requests()`` does the same.
    """
    total = 0
    while True:
        deleted = _roll_up_batch()
        total += deleted
        if deleted < BATCH:
            break
    removals.tell({"limited hours": delete_expired_hours()})
    return total


def _roll_up_batch() -> int:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [AdvisoryLock.CLEANUP_RATE_LIMIT_REQUESTS])
        if not cursor.fetchone()[0]:
            return 0
        statement = _ROLL_UP.format(
            table=TABLE.sql,
            rows=TABLE.aliased_rows,
            row=TABLE.returned_row(),
            to_delete_if_free=TO_DELETE_IF_FREE,
        )
        cursor.execute(statement, [KEPT.total_seconds(), BATCH])
        return int(cursor.fetchone()[0])


def delete_expired_hours() -> int:
    """Delete rollups that are no longer kept, in batches; return how many."""
    total = 0
    while True:
        deleted = _delete_hours()
        total += deleted
        if deleted < BATCH:
            return total


def _delete_hours() -> int:
    oldest = RateLimitHour.objects.expired().order_by("hour").values("pk")[:BATCH]
    return RateLimitHour.objects.filter(pk__in=oldest).delete()[0]
