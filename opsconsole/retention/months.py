"""The months of the timeline that may be dropped: whose events are all older than the retention, by the database's clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.conf import settings
from django.db import connection

from jobs.models.event import recovery_window
from opsconsole.kit.removals import kept

FUNCTION = "drop_job_event_month(date, bigint, text, text, text, jsonb, text)"
# What the function takes where its owner has stored nothing.
STORED_BY_DEFAULT = 396
_MONTHS = """
SELECT relname::text, pg_class.oid::regclass::text, month, (month + interval '1 month' + %s) AT TIME ZONE 'UTC',
       (month + interval '1 month' + %s) AT TIME ZONE 'UTC' <= statement_timestamp()
  FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
       CROSS JOIN LATERAL (SELECT to_date(substring(relname::text FROM 12), 'YYYY_MM') AS month) AS named
 WHERE inhparent = 'job_events'::regclass AND relname ~ '^job_events_[0-9]{4}_[0-9]{2}$'
 ORDER BY month
"""
_STORED = """
SELECT substring(obj_description(to_regprocedure(%s), 'pg_proc') FROM '^opsconsole keeps ([0-9]{1,5}) days$')::integer
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
    return max(kept("EVENTS"), recovery_window(), timedelta(days=stored_days()))


def stored_days() -> int:
    """Return for how many days the owner's function keeps events, whoever asks it."""
    with connection.cursor() as cursor:
        cursor.execute(_STORED, [FUNCTION])
        stored: int | None = cursor.fetchone()[0]
        return STORED_BY_DEFAULT if stored is None else stored


def unstored_days() -> list[str]:
    """Return the statement that lets the owner's function know the setting, if it does not; for the owner."""
    if stored_days() == settings.OPSCONSOLE_KEEP_EVENTS_DAYS:
        return []
    days = f"opsconsole keeps {settings.OPSCONSOLE_KEEP_EVENTS_DAYS:d} days"
    return [f"COMMENT ON FUNCTION {FUNCTION} IS '{days}'"]


def every() -> list[Month]:
    """Return the months that have a partition, oldest first."""
    keep = kept_for()
    with connection.cursor() as cursor:
        cursor.execute(_MONTHS, [keep, keep])
        return [Month(*row) for row in cursor.fetchall()]


def due() -> list[Month]:
    return [month for month in every() if month.is_due]
