"""Page after page of stale runs: found, decided and written, several pages side by side (I3 to I5)."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from threading import Lock
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, transaction

from jobs import rescue
from jobs.decision import Action, Decision, Policy, decide
from jobs.lanes import side_by_side
from jobs.stale_page import Place, StaleRun, lock_page, stale_runs

logger = logging.getLogger(__name__)

DETAILS_KEPT = 50
LANES = 2


def recover_all(policy: Policy) -> Tally:
    """Recover what is stale, at most OPSCONSOLE_SWEEP_LIMIT runs; while pages come full, on several connections."""
    pages = _Pages(policy)
    if pages.settle_next():
        side_by_side(pages.settle_rest, LANES)
    return pages.tally


class _Pages:
    """The pages of one sweep. Each goes to one lane; the next is found by whoever holds ``turn``."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.runs = stale_runs()
        self.tally = Tally()
        self.turn = Lock()
        self.behind: Place | None = None
        self.in_hand = 0

    def settle_rest(self) -> None:
        while self.settle_next():
            pass

    def settle_next(self) -> bool:
        """Find a page, decide, write; one transaction. True: there may be another page."""
        with transaction.atomic():
            page, full = self._take()
            settled = _settle([decide(run, self.policy) for run in page])
        with self.turn:
            self.in_hand -= len(page)
            self.tally.add(settled)
        return full

    def _take(self) -> tuple[list[StaleRun], bool]:
        with self.turn:
            # What the lanes have in hand counts as recovered, so that together they keep the pace.
            room = settings.OPSCONSOLE_SWEEP_LIMIT - self.tally.recovered - self.in_hand
            size = max(0, min(settings.OPSCONSOLE_SWEEP_PAGE_SIZE, room))
            page = lock_page(self.runs, self.behind, size) if size else []
            if page:
                self.behind = page[-1].place
                self.in_hand += len(page)
            return page, 0 < size == len(page)


class Tally:
    """What one sweep found and did."""

    def __init__(self) -> None:
        self.found = 0
        self.errors = 0
        self.done: Counter[Action] = Counter()
        self.lines: list[str] = []

    @property
    def recovered(self) -> int:
        return self.done[Action.REQUEUE] + self.done[Action.QUARANTINE]

    @property
    def full(self) -> bool:
        return self.recovered >= settings.OPSCONSOLE_SWEEP_LIMIT

    def add(self, other: Tally) -> None:
        self.found += other.found
        self.errors += other.errors
        self.done += other.done
        for line in other.lines:
            self.say(line)

    def skip(self, decision: Decision, sentence: str) -> None:
        self.done[Action.SKIP] += 1
        self.say(f"{decision.job_id} skipped: {sentence}")

    def fail(self, decision: Decision, error: DatabaseError) -> None:
        self.errors += 1
        sentence = str(error).strip().partition("\n")[0]
        logger.error("Run %s of job %s can't be recovered: %s", decision.epoch, decision.job_id, sentence)
        self.say(f"{decision.job_id} failed: {sentence}")

    def say(self, line: str) -> None:
        if len(self.lines) < DETAILS_KEPT:
            self.lines.append(line)


def _settle(decisions: Sequence[Decision]) -> Tally:
    """Statement two, for each kind of decision: look again and write."""
    tally = Tally()
    tally.found = len(decisions)
    for decision in decisions:
        if decision.action == Action.SKIP:
            tally.skip(decision, decision.sentence)
    for action, write in ((Action.REQUEUE, rescue.requeue), (Action.QUARANTINE, rescue.quarantine)):
        chosen = [decision for decision in decisions if decision.action == action]
        for part in _parts_that_can_be_written(chosen, write, tally):
            tally.done[action] += len(part)
    return tally


def _parts_that_can_be_written(chosen: Sequence[Decision], write: Any, tally: Tally) -> Iterator[set[UUID]]:
    """Write all at once; when the database refuses, halve, so that a row that can't be written fails alone."""
    if not chosen:
        return
    try:
        with transaction.atomic():
            written = write(chosen)
    except DatabaseError as error:
        if len(chosen) == 1:
            tally.fail(chosen[0], error)
            return
        middle = len(chosen) // 2
        yield from _parts_that_can_be_written(chosen[:middle], write, tally)
        yield from _parts_that_can_be_written(chosen[middle:], write, tally)
        return
    for decision in chosen:
        if decision.job_id not in written:
            tally.skip(decision, "Its worker beat, or it ended, a moment ago.")
    yield written
