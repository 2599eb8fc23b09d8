"""The command that replays the present dead letters, in the order in which they were sent."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db.models import Count, Q

from jobs.dead_letters import check, fulfilment, operations
from jobs.letter_ledger import entries
from jobs.letter_ledger.entries import LetterAction
from jobs.messaging.dispatcher import dispatch
from jobs.models import DeadLetter, FailureGroup, ReplayAttempt
from jobs.operations.steps import OperationRefused, Step
from jobs.runs.timeline import Actor
from opsconsole.kit import commands, reasons
from opsconsole.kit.counting import exactly

PAGE = 500
MOST_TURNS_WITHOUT_PROGRESS = 3


class Command(BaseCommand):
    help = (
        "Scan the dead letter queues, then replay their letters: a letter of a known job requeues the job, and any "
        "other is sent to its origin. Exit code 0: all replayed; 1: some were skipped or are not done yet."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--queue", help="only letters from this queue")
        parser.add_argument(
            "--group", help="only letters of this failure group, by its number or fingerprint"
        )
        parser.add_argument("--limit", type=int, help="the most letters to replay")
        parser.add_argument("--reason", help="the reason, kept in each letter's ledger")
        commands.add_operator(parser)
        commands.add_dry_run(parser)

    def handle(self, *args: Any, dry_run: bool, reason: str | None, **options: Any) -> None:
        if options["limit"] is not None and options["limit"] <= 0:
            raise CommandError("--limit must be more than 0.")
        if not dry_run:
            reason = reasons.required(reason, CommandError, operations.KEPT, name="--reason")
            self._look()
        chosen = list(self._chosen(options).values_list("pk", flat=True)[: options["limit"]])
        if dry_run:
            self._preview(chosen)
        else:
            self._redrive(chosen, Actor.operator(options["operator"], None), str(reason))

    def _look(self) -> None:
        for checked in check.check():
            self.stdout.write(str(checked))

    def _chosen(self, options: dict[str, Any]) -> Any:
        letters = DeadLetter.objects.present().order_by("sent_at", "pk")
        if options["queue"]:
            if options["queue"] not in settings.QUEUES:
                raise CommandError(f"No queue '{options['queue']}' is configured. Nothing was replayed.")
            letters = letters.filter(queue=options["queue"])
        if options["group"]:
            letters = letters.filter(group=_group(options["group"]))
        return letters

    def _preview(self, chosen: Sequence[UUID]) -> None:
        for step in _plans(chosen):
            verb = "replay " if step.will else "skip   "
            self.stdout.write(f"{verb}  {step.job_id}  {step.sentence}")
        self.stdout.write(f"{exactly(len(chosen), 'dead letter')}; nothing was changed.")

    def _redrive(self, chosen: Sequence[UUID], actor: Actor, reason: str) -> None:
        """Replay the letters that were chosen at the start; later arrivals are not included."""
        skipped = 0
        for page in _pages(chosen):
            steps = operations.plan(LetterAction.REPLAY, page)
            try:
                outcomes = operations.carry_out(steps, actor, reason)
            except OperationRefused as error:
                raise CommandError(str(error)) from error
            for outcome in outcomes:
                if not outcome.done:
                    skipped += 1
                    self.stdout.write(f"skipped  {outcome.job_id}  {outcome.sentence}")
            self._work(page)
        self._account(chosen, skipped)

    def _work(self, page: Sequence[UUID]) -> None:
        """Send and delete until the whole page is done or there is no more progress."""
        waiting, still = _waiting(page), 0
        while waiting and still < MOST_TURNS_WITHOUT_PROGRESS:
            dispatch()
            fulfilment.work()
            left = _waiting(page)
            still = still + 1 if left == waiting else 0
            waiting = left

    def _account(self, chosen: Sequence[UUID], skipped: int) -> None:
        states = _states(chosen)
        done = states.get(DeadLetter.State.REPLAYED, 0)
        for state, count in sorted(states.items()):
            self.stdout.write(f"{count:>7,} {DeadLetter.State(state).label.lower()}")
        if done < len(chosen):
            raise CommandError(
                f"{done:,} of {len(chosen):,} replayed, {skipped:,} skipped. The cluster continues with open requests; "
                "the page of each letter shows its state."
            )
        self.stdout.write(f"{done:,} replayed.")


def _group(named: str) -> FailureGroup:
    by_number = Q(pk=named) if named.isascii() and named.isdecimal() and len(named) < 19 else Q()
    group = FailureGroup.objects.filter(by_number | Q(fingerprint=named)).first()
    if group is None:
        raise CommandError(f"There is no failure group '{named}'. Nothing was replayed.")
    return group


def _pages(chosen: Sequence[UUID]) -> Iterator[Sequence[UUID]]:
    return (chosen[start : start + PAGE] for start in range(0, len(chosen), PAGE))


def _plans(chosen: Sequence[UUID]) -> Iterator[Step]:
    return (step for page in _pages(chosen) for step in operations.plan(LetterAction.REPLAY, page))


def _waiting(page: Sequence[UUID]) -> list[tuple[int, str]]:
    unfinished = set(ReplayAttempt.UNFINISHED) - {entries.State.UNKNOWN}
    rows = ReplayAttempt.objects.filter(letter_id__in=page, state__in=unfinished)
    return list(rows.order_by("pk").values_list("pk", "state"))


def _states(chosen: Sequence[UUID]) -> dict[str, int]:
    states: dict[str, int] = {}
    for page in _pages(chosen):
        rows = DeadLetter.objects.filter(pk__in=page).values_list("state").annotate(Count("pk"))
        for state, count in rows.order_by():
            states[state] = states.get(state, 0) + count
    return states
