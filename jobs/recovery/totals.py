"""Totals: what one sweep found and did. Everything that was found is in exactly one of the other totals."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import DatabaseError

from jobs.models.columns import JOBS
from jobs.recovery.decision import SweepAction
from jobs.recovery.stale_pages import Page, StaleRun
from opsconsole.kit.changed_rows import RowKept
from opsconsole.kit.errors import first_line
from opsconsole_worker import refusals

logger = logging.getLogger(__name__)

LINES_KEPT = 50
# Of how many runs a rule's refusal is remembered, so that their outlook promises nothing.
REFUSED_KEPT = 2_000
RULES_KEPT = 10
OTHER_RULES = "other rules"
CHANGED = "Its worker sent a heartbeat, or the run ended, a moment ago."


@dataclass
class Totals:
    """``lines`` tell the first skips and errors one by one; ``locked`` are the runs that others hold.

    ``refused``: by each rule of the database that refused runs, how many ("runs"), the first of them ("jobs"), and what
    PostgreSQL said ("said").
    """

    requeued: int = 0
    quarantined: int = 0
    skipped: int = 0
    errors: int = 0
    locked: list[UUID] = field(default_factory=list)
    refused: dict[str, dict[str, Any]] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    @property
    def found(self) -> int:
        return self.recovered + self.skipped + len(self.locked) + self.errors

    @property
    def recovered(self) -> int:
        return self.requeued + self.quarantined

    @classmethod
    def of_untaken(cls, page: Page) -> Totals:
        """Return the totals of the runs that others hold or changed, or a policy hides, before anything is decided."""
        totals = cls(locked=[run.pk for run in page.passed_over])
        for run in page.hidden:
            totals.fail(run, RowKept(JOBS.name))
        for run in page.changed:
            totals.skip(run.pk, CHANGED)
        return totals

    def add(self, other: Totals) -> None:
        self.requeued += other.requeued
        self.quarantined += other.quarantined
        self.skipped += other.skipped
        self.errors += other.errors
        self.locked += other.locked
        for rule, kept in other.refused.items():
            self._refuse(rule, kept["said"], kept["jobs"], kept["runs"])
        self._tell(other.lines)

    def take(self, action: SweepAction, count: int) -> None:
        """Count runs that were taken from their workers."""
        if action == SweepAction.QUARANTINE:
            self.quarantined += count
        else:
            self.requeued += count

    def skip(self, job_id: UUID, sentence: str) -> None:
        self.skipped += 1
        self._tell([f"{job_id} skipped: {sentence}"])

    def fail(self, run: StaleRun, error: DatabaseError) -> None:
        self.errors += 1
        refusal, sentence = refusals.of(error), first_line(error)
        rule, message = (refusal.rule, refusal.said) if refusal else (sentence, sentence)
        self._refuse(rule, message, [str(run.pk)], 1)
        logger.error("Run %s of job %s can't be recovered: %s", run.run_epoch, run.pk, sentence)
        self._tell([f"{run.pk} failed: {sentence}"])

    def _refuse(self, rule: str, message: str, job_ids: list[str], count: int) -> None:
        if rule not in self.refused and len(self.refused) >= RULES_KEPT:
            rule = OTHER_RULES
        kept = self.refused.get(rule, {"runs": 0, "said": message, "jobs": []})
        jobs = [*kept["jobs"], *job_ids][:REFUSED_KEPT]
        self.refused[rule] = kept | {"runs": kept["runs"] + count, "jobs": jobs}

    def _tell(self, lines: Iterable[str]) -> None:
        self.lines = [*self.lines, *lines][:LINES_KEPT]
