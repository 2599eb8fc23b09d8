"""The months of the timeline that may be dropped: whose events are all older than the retention, by the database's clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.db import connection

from jobs.models.event import recovery_window
from opsconsole.kit.removals import kept
from opsconsole.retention import stored_days

SETTING = "EVENTS"
FUNCTION = "drop_job_event_month(date, bigint, text, text, text, jsonb, text)"
# What the function takes where its owner has stored nothing.
STORED_BY_DEFAULT = 396
_MONTHS = """
SELECT relname::text, pg_class.oid::regclass::text, month, (month + interval '1 month' + make_interval(secs => %s)) AT TIME ZONE 'UTC',
       (month + interval '1 month' + make_interval(secs => %s)) AT TIME ZONE 'UTC' <= statement_timestamp()
  FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
       CROSS JOIN LATERAL (SELECT to_date(substring(relname::text FROM 12), 'YYYY_MM') AS month) AS named
 WHERE inhparent = 'job_events'::regclass AND relname ~ '^job_events_[0-9]{4}_[0-9]{2}$'
 ORDER BY month
"""


@dataclass(frozen=True)
class Month:
    """A month of the timeline. ``place`` is its table, quoted for statements; it is kept until ``kept_until``."""

    name: str
    place: str
    first: date
    kept_until: datetime
    is_due: bool


def kept_for() -> timedelta:
    """Return how long an event is kept at least.

    Recoveries within the window are counted from events. Below what the owner stored, the function refuses.
    """
    return max(kept(SETTING), recovery_window(), timedelta(days=stored_days.of(FUNCTION, STORED_BY_DEFAULT)))


def every() -> list[Month]:
    """Return the months that have a partition, oldest first."""
    keep = kept_for().total_seconds()
    with connection.cursor() as cursor:
        cursor.execute(_MONTHS, [keep, keep])
        return [Month(*row) for row in cursor.fetchall()]


def due() -> list[Month]:
    return [month for month in every() if month.is_due]
