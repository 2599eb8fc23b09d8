"""Page after page of stale runs: found, decided and written, several pages side by side (I3 to I5)."""

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
from jobs.recovery.candidates import BEGINNING, StaleRun, StaleRuns, held_again
from jobs.recovery.decision import Action, Decision, Policy, decide
from jobs.recovery.parallel_connections import Lanes
from opsconsole.kit.errors import first_line

logger = logging.getLogger(__name__)

# Writes what was decided; returns the jobs that it left alone.
Write: TypeAlias = Callable[[Sequence[Decision]], set[UUID]]

DETAILS_KEPT = 50
LANES = 2


def recover_all(policy: Policy) -> Tally:
    """Recover what is stale, at most OPSCONSOLE_SWEEP_LIMIT runs; once a page comes full, on several connections."""
    with Lanes(LANES) as lanes:
        pages = _Pages(policy, lanes)
        pages.settle_all()
    return pages.tally


class _Pages:
    """The pages of one sweep. Each goes to one lane; the next is found by whoever holds ``turn``."""

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
        """Find a page, decide, write; one transaction. True: there may be another page."""
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
            # What the lanes have in hand counts as recovered, so that together they keep the pace.
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
    """Let the page's commit not wait for the disk. The commit of the sweep's own row waits for all pages at once.

    So does that of a dispatcher, before it sends what was written here. What a crash takes is found stale again.
    """
    if connection.savepoint_ids:
        return  # The page is part of a caller's transaction, whose commit is not ours to hurry.
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL synchronous_commit = off")


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
        self.done[Action.NOTHING] += 1
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
    """Decide about each run of a locked page; then statement two, for each kind of decision: look again and write."""
    tally = Tally()
    tally.found = len(page)
    decisions = [decide(run, policy) for run in page]
    for decision in decisions:
        if decision.action == Action.NOTHING:
            tally.skip(decision, decision.sentence)
    for action, write in ((Action.REQUEUE, rescue.requeue), (Action.QUARANTINE, rescue.quarantine)):
        chosen = [decision for decision in decisions if decision.action == action]
        if chosen:
            tally.done[action] += (_written_in_parts if carefully else _written)(chosen, write, tally)
    return tally


def _written(chosen: Sequence[Decision], write: Write, tally: Tally) -> int:
    """Write all at once; returns how many runs were taken."""
    left_alone = write(chosen)
    for decision in chosen:
        if decision.run.pk in left_alone:
            tally.skip(decision, "Its worker beat, or it ended, a moment ago.")
    return len(chosen) - len(left_alone)


def _written_in_parts(chosen: Sequence[Decision], write: Write, tally: Tally) -> int:
    """What the database refuses is halved, so that a row that can't be written fails alone."""
    try:
        with transaction.atomic():
            return _written(chosen, write, tally)
    except DatabaseError as error:
        if len(chosen) == 1:
            tally.fail(chosen[0], error)
            return 0
        halves = chosen[: len(chosen) // 2], chosen[len(chosen) // 2 :]
        return sum(_written_in_parts(half, write, tally) for half in halves)
