"""Keep the records of rate limiting no longer than they are useful."""

from __future__ import annotations

from ratelimits.models import RateLimitRequest

BATCH = 5_000


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
