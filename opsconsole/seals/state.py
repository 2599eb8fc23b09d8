"""What the audit page says of the seals: up to when everything is sealed, what waits, and what does not match."""

# ruff: noqa: S608 - only names and pieces of SQL from this code are put together; values are parameters

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib.admin.models import LogEntry
from django.db import connection
from django.db.models.functions import Now

from opsconsole.kit.audit_models import AuditSeal, UnsealedRange
from opsconsole.kit.counting import figure, plural
from opsconsole.seals import checking, rows, sealer
from opsconsole.seals.report import Break

# The gaps are few: what comes next is counted for certain.
MOST_RANGES = 200
# More waiting rows are shown as "500+".
MOST_COUNTED = 500
# The cluster seals each minute, unless it is stopped or the schedule is paused.
LONGEST_WAIT = timedelta(minutes=10)
WAITING = {
    AuditSeal.Source.AUDIT: ("line", "of the audit"),
    AuditSeal.Source.TIMELINE: ("event", "of the timeline"),
    AuditSeal.Source.BULK: ("event", "of bulk operations"),
    AuditSeal.Source.LETTERS: ("entry", "of the ledger of dead letters"),
}
PLURALS = {"entry": "entries"}


@dataclass(frozen=True)
class State:
    number: int
    hash: str
    sealed_at: datetime | None
    waiting: str
    breaks: list[Break]


def read() -> State:
    newest = AuditSeal.objects.order_by("-number").first()
    return State(
        number=newest.number if newest else 0,
        hash=newest.hash if newest else "",
        sealed_at=newest.sealed_at if newest else None,
        waiting=", ".join(_waiting(source) for source in AuditSeal.Source),
        breaks=checking.known_breaks(),
    )


def is_behind() -> bool:
    """Tell whether a line of the audit waits for its seal for so long that nothing seals any more."""
    head = UnsealedRange.objects.filter(source=AuditSeal.Source.AUDIT, last_id=None)
    sealed_up_to = head.values_list("first_id", flat=True).first() or 1
    return LogEntry.objects.filter(pk__gte=sealed_up_to, action_time__lt=Now() - LONGEST_WAIT).exists()


def _waiting(source: AuditSeal.Source) -> str:
    """Count the rows that no seal covers yet, such as "12 lines of the audit" or "500+ lines of the audit"."""
    ranges = list(sealer.unsealed_ids(source))[-MOST_RANGES:] or [(-sealer.END, sealer.END)]
    table = rows.TABLES[source].name
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT count(*) FROM (SELECT FROM unnest(%s::bigint[], %s::bigint[]) AS open (first_id, last_id)"
            f" CROSS JOIN LATERAL (SELECT FROM {table} WHERE id BETWEEN open.first_id AND open.last_id"
            f" LIMIT {MOST_COUNTED + 1}) AS entry LIMIT {MOST_COUNTED + 1}) AS waiting",
            [[first for first, _ in ranges], [last for _, last in ranges]],
        )
        counted: int = cursor.fetchone()[0]
    noun, place = WAITING[source]
    return f"{figure(counted, MOST_COUNTED)} {plural(counted, noun, PLURALS.get(noun, ''))} {place}"
