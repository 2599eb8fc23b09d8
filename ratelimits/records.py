"""Who asked for what and how often: counted in memory, written every few seconds, kept for an hour, rolled up by hour.

A request never writes to the database. A process that is killed outright loses what it counted in the last five
seconds.
"""

from __future__ import annotations

import logging
import os

from django.db import DataError, connection

from ratelimits.models import RateLimitRequest
from ratelimits.pending import Entry, Pending

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
    """Delete records older than an hour and return how many; answers as ``cleanup_rate_limit_requests()`` does.

    Each batch is its own transaction, and rows that another cleaner holds are left to it.
    """
    total = 0
    while True:
        deleted = _delete_batch()
        total += deleted
        if deleted < BATCH:
            return total


def _delete_batch() -> int:
    oldest = RateLimitRequest.objects.expired().order_by("created_at").select_for_update(skip_locked=True)
    return RateLimitRequest.objects.filter(pk__in=oldest.values("pk")[:BATCH]).delete()[0]
