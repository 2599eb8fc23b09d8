"""The command that replays the present dead letters in rounds, in the order in which they were sent."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, ClassVar
from uuid import UUID

from django.conf import settings
from django.core.management.base import CommandError
from django.db.models import Count, Q

from jobs.bulk.registry import kind_of
from jobs.dead_letters import check, fifo_order, fulfilment, left_over, operations, origins, send_outcomes
from jobs.dead_letters.check import CheckedQueue
from jobs.dead_letters.scan_coverage import unseen_in_words
from jobs.letter_ledger import entries
from jobs.letter_ledger.entries import LetterAction
from jobs.messaging.dispatcher import dispatch
from jobs.models import DeadLetter, FailureGroup, ReplayAttempt
from jobs.models.dead_letter import DeadLetterQuerySet
from jobs.operations.steps import OperationRefused, Step
from jobs.runs.timeline import Actor
from opsconsole.kit import actors, audit, commands
from opsconsole.kit.command_arguments import could_not, required_reason, whole_number, wrong
from opsconsole.kit.counting import exactly
from opsconsole.kit.exit_codes import COULD_NOT

REPLAY = kind_of(LetterAction.REPLAY)
PAGE = 500
MOST_ROUNDS = 1_000
MOST_TURNS_WITHOUT_PROGRESS = 3


class Command(commands.ConsoleCommand):
    help = (
        "Scan the dead letter queues, then replay their letters, in rounds until none is left: a letter of a known job "
        "requeues the job, and any other is sent to its origin."
    )
    examples = (
        "redrive_dlq --dry-run",
        'redrive_dlq --group 12 --limit 100 --reason "the address service is back"',
    )
    exit_codes: ClassVar = {
        0: "all were replayed",
        1: "some were skipped, are not done yet, were not seen, or nobody knows whether they were sent",
        COULD_NOT: "a queue was not read; all that is known of was replayed",
    }

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--queue", help="only letters from this queue")
        parser.add_argument(
            "--group", help="only letters of this failure group, by its number or fingerprint"
        )
        parser.add_argument("--limit", type=whole_number(), help="the most letters to replay")
        parser.add_argument("--reason", help="the reason, kept in each letter's ledger")
        commands.add_operator(parser)
        commands.add_dry_run(parser)
        commands.add_json(parser)

    def handle(self, *args: Any, dry_run: bool, reason: str | None, **options: Any) -> None:
        self._as_json: bool = options["json"]
        self._progress = commands.Progress(sys.stderr)
        self._skipped: list[dict[str, str]] = []
        if dry_run:
            self._preview(options)
        else:
            reason = required_reason(reason, operations.KEPT)
            self._redrive(options, Actor.operator(options["operator"], None), reason)

    def _preview(self, options: dict[str, Any]) -> None:
        letters = _chosen(options)
        chosen = _untried(options, {}, letters.present())
        steps = list(_plans(chosen))
        known = list(origins.known())
        unseen = [why for queues, why in origins.unread(known) if _concerns(queues, options)]
        unseen += [why for dlq in known if _concerns(dlq.queues, options) and (why := unseen_in_words(dlq))]
        lines = [f"{'replay ' if step.will else 'skip   '}  {step.job_id}  {step.sentence}" for step in steps]
        left = list(left_over.sentences(letters))
        lines += [f"{exactly(len(chosen), 'dead letter')}; nothing was changed.", *left, *unseen]
        plans = [{"id": str(step.job_id), "replay": step.will, "sentence": step.sentence} for step in steps]
        answer = {"dry_run": True, "letters": plans, "left": left, "unseen": unseen}
        self.tell(answer, lines, as_json=self._as_json)

    def _redrive(self, options: dict[str, Any], actor: Actor, reason: str) -> None:
        """Replay in rounds, because a FIFO queue shows more letters once those before them have left.

        Letters that come back from their replay meanwhile are not tried again.
        """
        letters = _chosen(options)
        chosen_letters = letters.present()
        tried: dict[UUID, None] = {}
        checked = self._look()
        for _ in range(MOST_ROUNDS):
            chosen = _untried(options, tried, chosen_letters)
            if not chosen and _has_room(options, tried) and tried:
                checked = self._look()
                chosen = _untried(options, tried, chosen_letters)
            if not chosen:
                break
            tried |= dict.fromkeys(chosen)
            self._replay(chosen, actor, reason)
        concerned = [each for each in checked if _concerns(each.dlq.queues, options)]
        self._progress.clear()
        if _has_room(options, tried):
            self._account(list(tried), concerned, letters)
        else:
            self._account(list(tried), [], letters.none())

    def _look(self) -> list[CheckedQueue]:
        # What a process that died was sending is told as unknown, also where no cluster runs.
        send_outcomes.give_up_intents()
        checked = check.check()
        for each in checked:
            self._line(str(each))
        return checked

    def _line(self, sentence: str) -> None:
        if not self._as_json:
            self._progress.clear()
            self.stdout.write(sentence)

    def _replay(self, chosen: Sequence[UUID], actor: Actor, reason: str) -> None:
        """Replay these letters as far as possible, and keep which were skipped."""
        for number, page in enumerate(_pages(chosen)):
            self._progress.show(f"{number * PAGE:,} of {exactly(len(chosen), 'dead letter')} in this round")
            steps = operations.plan(LetterAction.REPLAY, page)
            try:
                outcomes = operations.carry_out(steps, actor, reason, record=partial(_log, actor, reason))
            except OperationRefused as error:
                raise CommandError(str(error)) from error
            for outcome in outcomes:
                if outcome.unknown:
                    # Its state tells in the end whether it was replayed.
                    self._line(f"unknown  {outcome.job_id}  {outcome.sentence}")
                elif not outcome.done:
                    self._skipped.append({"id": str(outcome.job_id), "sentence": outcome.sentence})
                    self._line(f"skipped  {outcome.job_id}  {outcome.sentence}")
            self._work(page)

    def _work(self, page: Sequence[UUID]) -> None:
        """Send and delete until the whole page is done or there is no more progress."""
        waiting, still = _waiting(page), 0
        while waiting and still < MOST_TURNS_WITHOUT_PROGRESS:
            dispatch()
            fulfilment.work()
            left = _waiting(page)
            still = still + 1 if left == waiting else 0
            waiting = left

    def _account(
        self, tried: Sequence[UUID], checked: Sequence[CheckedQueue], concerned: DeadLetterQuerySet
    ) -> None:
        states = _states(tried)
        replayed, skipped = states.get(DeadLetter.State.REPLAYED, 0), len(self._skipped)
        for state, count in sorted(states.items()):
            self._line(f"{count:>7,} {DeadLetter.State(state).label.lower()}")
        problems = []
        if replayed < len(tried):
            problems.append(
                f"{replayed:,} of {len(tried):,} replayed, {skipped:,} skipped. {left_over.CLUSTER_CONTINUES}"
            )
        problems += [why for why in [fifo_order.waiting_in_words(tried)] if why]
        left = list(left_over.sentences(concerned, just_begun=states.get(DeadLetter.State.REPLAYING, 0)))
        problems += left
        problems += [why for each in checked if (why := _why_not_all_seen(each))]
        if self._as_json:
            answer = {"tried": len(tried), "replayed": replayed, "skipped": self._skipped, "states": states}
            self.tell(answer | {"problems": problems}, (), as_json=True)
        if problems:
            unread = (
                replayed == len(tried) and not left and any(each.visited.depth is None for each in checked)
            )
            raise (could_not if unread else CommandError)(" ".join(problems))
        self._line(f"{replayed:,} replayed.")


def _log(actor: Actor, reason: str, written: Mapping[UUID, str]) -> None:
    letters = DeadLetter.objects.light().filter(pk__in=written)
    audit.log_command(actors.in_words(actor.name), letters, REPLAY.did, why=reason)


def _why_not_all_seen(checked: CheckedQueue) -> str:
    """Return why letters may be left in the queue that nobody has seen, or '' when none are."""
    if checked.visited.paused or checked.visited.busy or checked.visited.depth is None:
        return f"{str(checked).rstrip('.')}."
    return unseen_in_words(checked.dlq)


def _concerns(queues: Collection[str], options: dict[str, Any]) -> bool:
    return not options["queue"] or options["queue"] in queues


def _has_room(options: dict[str, Any], tried: Collection[UUID]) -> bool:
    return options["limit"] is None or len(tried) < options["limit"]


def _chosen(options: dict[str, Any]) -> DeadLetterQuerySet:
    letters = DeadLetter.objects.order_by("sent_at", "pk")
    if options["queue"]:
        if options["queue"] not in settings.QUEUES:
            raise wrong(f"No queue '{options['queue']}' is configured.")
        letters = letters.filter(queue=options["queue"])
    if options["group"]:
        letters = letters.filter(group=_group(options["group"]))
    return letters


def _untried(
    options: dict[str, Any], tried: Collection[UUID], chosen_letters: DeadLetterQuerySet
) -> list[UUID]:
    """Return the letters to try next, without those that came back from a letter that was tried."""
    room = None if options["limit"] is None else options["limit"] - len(tried)
    letters = chosen_letters.values_list("pk", "returned_from_id").iterator()
    untried = (pk for pk, earlier in letters if pk not in tried and earlier not in tried)
    return list(islice(untried, room))


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
