"""Coverage above the dead letters list: how much of each queue was seen, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models.functions import Now
from django_stubs_ext import WithAnnotations

from jobs.dead_letters import origins, scan_coverage
from jobs.models import DeadLetterQueue
from opsconsole.kit import intervals
from opsconsole.kit.db_clock import DbNow
from opsconsole.kit.lateness import late_after
from opsconsole_worker import sqs


@dataclass(frozen=True)
class CoverageLine:
    """One dead letter queue. ``row`` carries ``db_now``; ``stale``: it was not checked for two intervals."""

    row: WithAnnotations[DeadLetterQueue, DbNow]
    depth: str
    coverage: str
    stale: bool
    console: str | None

    @property
    def sentence(self) -> str:
        """Return both numbers. SQS counts approximately, so fewer than were seen are no contradiction."""
        seen, depth = self.row.seen or 0, self.row.depth
        if depth is not None and not self.row.error and depth < seen:
            return f"SQS counts about {self.depth}, {self.coverage}"
        return f"{self.depth} in the queue, {self.coverage}"


def lines() -> list[CoverageLine]:
    """Return the configured dead letter queues as they were last read, without asking SQS."""
    return [_line(row) for row in origins.known().annotate(db_now=Now())]


def unread(lines: Sequence[CoverageLine]) -> str:
    """Say how many messages the queues hold, for an empty list; nothing if they are empty or unknown."""
    depth = sum(line.row.depth or 0 for line in lines if not line.row.error)
    return f"{scan_coverage.counted(depth)}, which the console has not read yet." if depth else ""


def _line(row: WithAnnotations[DeadLetterQueue, DbNow]) -> CoverageLine:
    late = late_after(intervals.of_dead_letter_checks().every)
    return CoverageLine(
        row=row,
        depth="unknown" if row.error or row.depth is None else f"{row.depth:,}",
        coverage=scan_coverage.in_words(row),
        stale=row.checked_at is None or row.db_now - row.checked_at > late,
        console=sqs.console_link(row.url),
    )
