"""What the audit page says of the seals: up to when everything is sealed, what waits, and what does not match."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib.admin.models import LogEntry
from django.db.models.functions import Now

from opsconsole.kit import one_statement
from opsconsole.kit.audit_models import AuditSeal, UnsealedRange
from opsconsole.kit.counting import figure, plural
from opsconsole.kit.one_statement import Reading, models_of
from opsconsole.seals import checking, rows, sealer
from opsconsole.seals.report import Break

# The gaps are few: what comes next is counted for certain.
MOST_RANGES = 200
# More waiting rows are shown as "500+".
MOST_COUNTED = 500
# The cluster seals each minute, unless it is stopped or the schedule is paused.
LONGEST_WAIT = timedelta(minutes=10)
BEHIND = "Lines of the audit have waited for more than 10 minutes to be sealed"
WHEN_BEHIND = "Run the cluster, and resume the schedule 'seals' if it is paused."
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
    """Read all of it by one statement."""
    read_now = one_statement.read(
        newest=models_of(AuditSeal.objects.order_by("-number")[:1]), breaks=checking.breaks(), **_waiting()
    )
    newest = next(iter(read_now["newest"]), None)
    return State(
        number=newest.number if newest else 0,
        hash=newest.hash if newest else "",
        sealed_at=newest.sealed_at if newest else None,
        waiting=", ".join(_in_words(source, read_now[source.value]) for source in AuditSeal.Source),
        breaks=read_now["breaks"],
    )


def is_behind() -> bool:
    """Tell whether a line of the audit waits for its seal for so long that nothing seals any more."""
    head = UnsealedRange.objects.filter(source=AuditSeal.Source.AUDIT, last_id=None)
    sealed_up_to = head.values_list("first_id", flat=True).first() or 1
    return LogEntry.objects.filter(pk__gte=sealed_up_to, action_time__lt=Now() - LONGEST_WAIT).exists()


# Where no range is noted, nothing is sealed yet.
_WAITING = """
SELECT count(*)
  FROM (SELECT
           FROM (SELECT first_id, coalesce(last_id, {end}) AS last_id
                   FROM (SELECT first_id, last_id FROM audit_unsealed WHERE source = '{source}'
                          ORDER BY first_id DESC LIMIT {ranges}) AS noted
                  UNION ALL
                 SELECT -{end}, {end} WHERE NOT EXISTS (SELECT FROM audit_unsealed WHERE source = '{source}')) AS open
          CROSS JOIN LATERAL (SELECT FROM {table} WHERE id BETWEEN open.first_id AND open.last_id LIMIT {most}) AS entry
          LIMIT {most}) AS waiting
"""


def _waiting() -> dict[str, Reading[int]]:
    """Count the rows of each source that no seal covers yet, up to ``MOST_COUNTED`` and one."""
    counts = {
        source.value: _WAITING.format(
            end=sealer.END,
            source=source.value,
            ranges=MOST_RANGES,
            table=rows.TABLES[source].name,
            most=MOST_COUNTED + 1,
        )
        for source in AuditSeal.Source
    }
    return {source: Reading(sql, (), int) for source, sql in counts.items()}


def _in_words(source: AuditSeal.Source, counted: int) -> str:
    """Return what waits, such as "12 lines of the audit" or "500+ lines of the audit"."""
    noun, place = WAITING[source]
    return f"{figure(counted, MOST_COUNTED)} {plural(counted, noun, PLURALS.get(noun, ''))} {place}"
