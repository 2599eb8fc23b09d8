"""Batches of stale runs: each page is found, decided and written; several pages in parallel (I3 to I5)."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from threading import Lock
from typing import TypeAlias
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, connection, transaction

from jobs.recovery import rescue
from jobs.recovery.decision import Decision, Policy, SweepAction, decide
from jobs.recovery.parallel_connections import Lanes
from jobs.recovery.stale_pages import BEGINNING, StaleRun, StaleRuns, held_again
from opsconsole.kit.errors import first_line

logger = logging.getLogger(__name__)

# Writes the decisions and returns the jobs that were left alone.
Write: TypeAlias = Callable[[Sequence[Decision]], set[UUID]]

DETAILS_KEPT = 50
LANES = 2


def recover_all(policy: Policy) -> Tally:
    """Recover stale runs, at most OPSCONSOLE_SWEEP_LIMIT; after the first full page, on several connections."""
    with Lanes(LANES) as lanes:
        pages = _Pages(policy, lanes)
        pages.settle_all()
    return pages.tally


class _Pages:
    """The pages of one sweep. Each belongs to one connection; the connection that holds ``turn`` finds the next one."""

    def __init__(self, policy: Policy, lanes: Lanes) -> None:
        self.policy = policy
        self.lanes = lanes
        self.runs = StaleRuns()
        self.tally = Tally()
        self.turn = Lock()
        self.behind = BEGINNING
        self.in_hand = 0

    def settle_all(self) -> None:
        while self._settle_next():
            pass

    def _settle_next(self) -> bool:
        """Find a page, decide and write in one transaction. Return True when there may be another page."""
        page: list[StaleRun] = []
        full = False
        try:
            with transaction.atomic():
                _commit_without_waiting()
                page, full = self._take()
                settled = _settle(page, self.policy)
        except DatabaseError:
            if not page:
                raise
            with transaction.atomic():
                settled = _settle(held_again(page), self.policy, carefully=True)
        with self.turn:
            self.in_hand -= len(page)
            self.tally.add(settled)
        return full

    def _take(self) -> tuple[list[StaleRun], bool]:
        with self.turn:
            # Pages in progress count as recovered, so that all connections together respect the limit.
            room = settings.OPSCONSOLE_SWEEP_LIMIT - self.tally.recovered - self.in_hand
            size = max(0, min(settings.OPSCONSOLE_SWEEP_PAGE_SIZE, room))
            page = self.runs.lock(size, self.behind) if size else []
            if page:
                self.behind = page[-1].place
                self.in_hand += len(page)
            full = 0 < size == len(page)
        if full:
            self.lanes.open(self.settle_all)
        return page, full


def _commit_without_waiting() -> None:
    """Commit the page without waiting for the disk; the commit of the sweep's own row waits for all pages at once.

    A dispatcher's commit also waits, before it sends anything written here. A commit lost in a crash is harmless: the
    run is found stale again.
    """
    if connection.savepoint_ids:
        return  # The page is part of a caller's transaction, and its commit is the caller's decision.
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL synchronous_commit = off")


class Tally:
    """What one sweep found and did."""

    def __init__(self) -> None:
        self.found = 0
        self.errors = 0
        self.done: Counter[SweepAction] = Counter()
        self.lines: list[str] = []

    @property
    def recovered(self) -> int:
        return self.done[SweepAction.REQUEUE] + self.done[SweepAction.QUARANTINE]

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
        self.done[SweepAction.NOTHING] += 1
        self.say(f"{decision.run.pk} skipped: {sentence}")

    def fail(self, decision: Decision, error: DatabaseError) -> None:
        self.errors += 1
        sentence = first_line(error)
        logger.error(
            "Run %s of job %s can't be recovered: %s", decision.run.run_epoch, decision.run.pk, sentence
        )
        self.say(f"{decision.run.pk} failed: {sentence}")

    def say(self, line: str) -> None:
        if len(self.lines) < DETAILS_KEPT:
            self.lines.append(line)


def _settle(page: Sequence[StaleRun], policy: Policy, *, carefully: bool = False) -> Tally:
    """Decide about each run of a locked page, then run statement two per kind of decision: look again and write."""
    tally = Tally()
    tally.found = len(page)
    decisions = [decide(run, policy) for run in page]
    for decision in decisions:
        if decision.action == SweepAction.NOTHING:
            tally.skip(decision, decision.sentence)
    for action, write in ((SweepAction.REQUEUE, rescue.requeue), (SweepAction.QUARANTINE, rescue.quarantine)):
        chosen = [decision for decision in decisions if decision.action == action]
        if chosen:
            tally.done[action] += (_written_in_parts if carefully else _written)(chosen, write, tally)
    return tally


def _written(chosen: Sequence[Decision], write: Write, tally: Tally) -> int:
    """Write all decisions at once; return how many runs were taken."""
    left_alone = write(chosen)
    for decision in chosen:
        if decision.run.pk in left_alone:
            tally.skip(decision, "Its worker sent a heartbeat, or the run ended, a moment ago.")
    return len(chosen) - len(left_alone)


def _written_in_parts(chosen: Sequence[Decision], write: Write, tally: Tally) -> int:
    """Write in halves when the database refuses the whole, so that a row that can't be written fails alone."""
    try:
        with transaction.atomic():
            return _written(chosen, write, tally)
    except DatabaseError as error:
        if len(chosen) == 1:
            tally.fail(chosen[0], error)
            return 0
        halves = chosen[: len(chosen) // 2], chosen[len(chosen) // 2 :]
        return sum(_written_in_parts(half, write, tally) for half in halves)
