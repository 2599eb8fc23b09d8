"""What a verification of the seals found, and how it names rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from opsconsole.kit.audit_models import AuditSeal
from opsconsole.kit.counting import exactly
from opsconsole.seals import id_ranges
from opsconsole.seals.chain import Seal
from opsconsole.seals.drops import Drops
from opsconsole.seals.id_ranges import Range

MOST_NAMED = 100
IDS_NAMED = 10
SINGULAR = {
    AuditSeal.Source.AUDIT: "audit row",
    AuditSeal.Source.TIMELINE: "timeline event",
    AuditSeal.Source.BULK: "bulk event",
    AuditSeal.Source.LETTERS: "ledger row",
}


class Break(NamedTuple):
    """What does not match. ``seal`` is 0 where no seal is concerned."""

    kind: str
    seal: int
    sentence: str


@dataclass
class Report:
    """``events_from``: seals that reach below this id of an event are not compared with rows, which were dropped on purpose.

    ``drops`` are the rows that retention dropped, by source, and ``dropped`` is how many of them the seals named.
    """

    events_from: int = 0
    drops: dict[str, Drops] = field(default_factory=dict)
    seals: int = 0
    rows: int = 0
    dropped: int = 0
    newest: Seal | None = None
    breaks: list[Break] = field(default_factory=list)
    break_count: int = 0

    def add(self, kind: str, seal: int, sentence: str) -> None:
        self.break_count += 1
        if len(self.breaks) < MOST_NAMED:
            self.breaks.append(Break(kind, seal, sentence))


def name_rows(source: AuditSeal.Source, ranges: Sequence[Range]) -> str:
    """Return how many rows these are, with their first ids."""
    count = id_ranges.size(ranges)
    named = id_ranges.as_text(ranges[:IDS_NAMED]) + (", …" if len(ranges) > IDS_NAMED else "")
    return f"{SINGULAR[source]} {named}" if count == 1 else f"{exactly(count, SINGULAR[source])} ({named})"
