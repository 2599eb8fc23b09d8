"""Batches of stale runs: each page is locked, decided about and written in one transaction (I3 to I5)."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

from django.conf import settings
from django.db import DatabaseError, connection, transaction

from jobs.messaging import outbox
from jobs.models import Job
from jobs.recovery import rescue, unheard_commits
from jobs.recovery.decision import Policy, SweepAction, decide
from jobs.recovery.parallel_connections import in_parallel
from jobs.recovery.stale_pages import BEGINNING, Page, StaleRun, StaleRuns, lock_again
from jobs.recovery.totals import CHANGED, Totals
from opsconsole.kit.database_troubles import Trouble, trouble_behind
from opsconsole.kit.row_locks import WaitBudget, limit_transaction, waited_in_vain

CONNECTIONS = 2


def recover_all(policy: Policy) -> Totals:
    """Recover stale runs, at most OPSCONSOLE_SWEEP_LIMIT; where there may be more than a page, on several connections."""
    batches = _Batches(policy)
    # Asked without the evidence, which takes as long as finding the page.
    old_enough = Job.objects.old_enough().order_by("updated_at", "pk")
    beyond_a_page = old_enough[settings.OPSCONSOLE_SWEEP_PAGE_SIZE :].exists()
    in_parallel(batches.recover_all, CONNECTIONS if beyond_a_page else 1)
    return batches.totals


class _Batches:
    """The pages of one sweep, which its connections take in turn. ``reserved`` runs are recovered or in hand."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.totals = Totals()
        self.budget = WaitBudget()
        self._runs = StaleRuns()
        self._turn = Lock()
        self._behind = BEGINNING
        self._reserved = 0

    def recover_all(self) -> None:
        while self._recover_page():
            pass

    def _recover_page(self) -> bool:
        """Recover one page. Return True when there may be another."""
        page, full = Page(), False
        try:
            with transaction.atomic():
                limit_page(self.budget)
                page, full = self._next_page()
                totals = recover(page, self.policy)
                outbox.announce(totals.recovered)
        except DatabaseError as error:
            if not page.held:
                raise
            self.budget.note(error)
            totals = Totals.of_untaken(page)
            totals.add(self._recover_again(page.held, error))
        with self._turn:
            self._reserved -= len(page.held) - totals.recovered
            self.totals.add(totals)
        return full

    def _next_page(self) -> tuple[Page, bool]:
        """Lock the next page, and tell whether it is full."""
        with self._turn:
            size = min(settings.OPSCONSOLE_SWEEP_PAGE_SIZE, settings.OPSCONSOLE_SWEEP_LIMIT - self._reserved)
            if size <= 0:
                return Page(), False
            page = self._runs.lock(size, self._behind)
            self._behind = page.end or self._behind
            self._reserved += len(page.held)
            return page, page.size == size

    def _recover_again(self, runs: Sequence[StaleRun], error: DatabaseError) -> Totals:
        """Recover runs whose transaction failed. Where the connection broke, what it may have saved is looked at first.

        The database refused none of them then: they are tried once more, and a database that stays away ends the sweep.
        """
        if trouble_behind(error) is not Trouble.AWAY:
            return self._recover_in_halves(runs, error)
        totals, left = unheard_commits.taken(runs)
        if left:
            totals.add(self._try(left))
        return totals

    def _try(self, runs: Sequence[StaleRun]) -> Totals:
        with transaction.atomic():
            limit_page(self.budget)
            return recover(lock_again(runs), self.policy)

    def _recover_in_halves(self, runs: Sequence[StaleRun], error: DatabaseError) -> Totals:
        """Try each half of the runs in a transaction of its own, so that a run that the database refuses fails alone."""
        if len(runs) == 1:
            return _untaken(runs[0], error)
        totals = Totals()
        for half in (runs[: len(runs) // 2], runs[len(runs) // 2 :]):
            try:
                totals_of_half = self._try(half)
            except DatabaseError as error_of_half:
                self.budget.note(error_of_half)
                totals_of_half = self._recover_again(half, error_of_half)
            totals.add(totals_of_half)
        return totals


def _untaken(run: StaleRun, error: DatabaseError) -> Totals:
    if waited_in_vain(error):
        return Totals(locked=[run.pk])
    totals = Totals()
    totals.fail(run, error)
    return totals


def limit_page(budget: WaitBudget) -> None:
    """Limit what a transaction of a page may wait for: others, its own process (which may be gone), and the disk.

    The commit of the sweep's own row waits for the disk, for all pages at once. A dispatcher's commit also waits, before
    it sends anything written here. A commit lost in a crash is harmless: the run is found stale again.
    """
    if not connection.savepoint_ids:  # Otherwise the page is part of a caller's transaction, who decides.
        limit_transaction(budget.left, synchronous_commit="off")


def recover(page: Page, policy: Policy) -> Totals:
    """Decide about each run that is held, then run statement two per kind of decision: look again and write."""
    totals = Totals.of_untaken(page)
    decisions = [decide(run, policy) for run in page.held]
    for decision in decisions:
        if decision.action == SweepAction.NOTHING:
            totals.skip(decision.run.pk, decision.sentence)
    for action, write in ((SweepAction.REQUEUE, rescue.requeue), (SweepAction.QUARANTINE, rescue.quarantine)):
        chosen = [decision for decision in decisions if decision.action == action]
        left_alone = write(chosen) if chosen else set()
        totals.take(action, len(chosen) - len(left_alone))
        for decision in chosen:
            if decision.run.pk in left_alone:
                totals.skip(decision.run.pk, CHANGED)
    return totals
