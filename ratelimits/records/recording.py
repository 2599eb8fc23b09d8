"""Who asked for what and how often: counted in memory, written every few seconds, kept for an hour, rolled up by hour.

A request never writes to the database. A process that is killed outright loses what it counted in the last five
seconds.
"""

from __future__ import annotations

import logging
import os

from django.db import DataError, connection, transaction

from ratelimits.models import KEPT, RateLimitHour
from ratelimits.records.pending_counts import Entry, Pending

log = logging.getLogger(__name__)

BATCH = 5_000
LONGEST_TEXT = 200
# A row's id is made of what it stands for, so that all processes add to the same one.
WRITE = """
INSERT INTO rate_limit_requests (id, key, endpoint, method, created_at, hits, outcome, policy)
SELECT md5(concat_ws(E'\\n', minute, policy, key, endpoint, method, outcome))::uuid AS row_id,
       key, endpoint, method, to_timestamp(minute * 60), hits, outcome, policy
  FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::int[])
       AS counted (minute, policy, key, endpoint, method, outcome, hits)
 ORDER BY row_id
    ON CONFLICT (id) DO UPDATE SET hits = rate_limit_requests.hits + EXCLUDED.hits
"""
# What is deleted is added to its hour in the same statement: counted in one of the two tables, never in both. Texts are
# cut: a row of somebody else's may hold more than an index takes.
ROLL_UP = """
WITH oldest AS MATERIALIZED (
    SELECT ctid FROM rate_limit_requests WHERE created_at < statement_timestamp() - %s * interval '1 second'
     ORDER BY created_at LIMIT %s FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM rate_limit_requests WHERE ctid IN (SELECT ctid FROM oldest) RETURNING *
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
# Any constant of ours, the same in the SQL function.
CLEANER_LOCK = 7_340_114

_pending = Pending()


def note(policy: str, key: str, endpoint: str, method: str, outcome: str) -> None:
    """Count one request. ``key``: an ``Identity.value``; ``endpoint``: a route; ``outcome``: a ``Outcome``."""
    _pending.add(policy, key, endpoint, method, outcome)


def flush() -> int:
    """Write what was counted; how many rows. Raises ``DatabaseError``: then it waits for the next time."""
    taken = _pending.take()
    if not taken:
        return 0
    try:
        _write(taken)
    except DataError:
        # Nothing of this will ever be accepted.
        log.exception("%s records of rate limiting were refused by the database and are lost", len(taken))
        return 0
    except BaseException:
        _pending.put_back(taken)
        raise
    return len(taken)


def _write(taken: dict[Entry, int]) -> None:
    rows = [(entry.minute, *(_storable(text) for text in entry[1:]), hits) for entry, hits in taken.items()]
    with connection.cursor() as cursor:
        cursor.execute(WRITE, [list(column) for column in zip(*rows, strict=True)])


def _storable(text: str) -> str:
    return text.replace("\0", "")[:LONGEST_TEXT]


def forget() -> None:
    """Start with nothing counted."""
    _pending.take()


def _after_fork() -> None:
    # What the parent counted, the parent writes.
    global _pending  # noqa: PLW0603 - one a process
    _pending = Pending()


os.register_at_fork(after_in_child=_after_fork)


def cleanup() -> int:
    """Delete records older than an hour, adding them to the hours; how many were deleted.

    Answers as ``cleanup_rate_limit_requests()`` does. Each batch is its own transaction. Rows that somebody else
    holds are left for the next time; when another cleaner is at work, all are left to it.
    """
    total = 0
    while True:
        deleted = _roll_up_batch()
        total += deleted
        if deleted < BATCH:
            break
    while _forget_hours() == BATCH:
        pass
    return total


def _roll_up_batch() -> int:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [CLEANER_LOCK])
        if not cursor.fetchone()[0]:
            return 0
        cursor.execute(ROLL_UP, [KEPT.total_seconds(), BATCH])
        return int(cursor.fetchone()[0])


def _forget_hours() -> int:
    oldest = RateLimitHour.objects.expired().order_by("hour").values("pk")[:BATCH]
    return RateLimitHour.objects.filter(pk__in=oldest).delete()[0]
