"""Bulk operations on the command line, with the same preview, members and runner as on the pages."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any, ClassVar
from uuid import uuid4

from django.contrib.auth.models import AnonymousUser
from django.core.management.base import CommandError
from django.db import transaction
from django.db.models import QuerySet

from jobs.admin import list_choice
from jobs.admin.list_choice import UnknownFilter
from jobs.bulk import background_freezing, chunks, decisions, freezing
from jobs.bulk.kinds import Kind
from jobs.bulk.registry import KINDS, kind_of
from jobs.models import BulkOperation, Job
from jobs.runs import status_wording
from jobs.runs.timeline import Actor
from opsconsole.kit import audit, commands
from opsconsole.kit.command_arguments import refuse_ignored, required_reason, row_number, wrong
from opsconsole.kit.errors import OpsConsoleError
from opsconsole.kit.storable import plain_text

CHOICES = ("status", "stale", "priority", "age", "queue", "state", "group", "source", "left")
TYPED = ("worker", "error", "since", "before", "finished_since", "finished_before")
FILTERS = CHOICES + TYPED
OF_AN_ACTION = (*FILTERS, "customer", "all", "dry_run")
LOOK_SECONDS = 0.5
SAMPLE = 10
State = BulkOperation.State
_OPTION = {"cancel": "stop", "resume": "resume"}
_DECIDED = {"cancel": "stops after its current chunk", "resume": "continues"}


class Command(commands.ConsoleCommand):
    help = (
        "Carry out one action on many jobs or dead letters. The filters mean the same as those of the lists. "
        "Without --wait the cluster carries it out."
    )
    examples = (
        "bulk_operation cancel --customer TEST-001 --status pending --dry-run",
        'bulk_operation requeue --status failed --age day --reason "the address service is back" --wait',
        'bulk_operation --stop 7 --reason "wrong customer"',
    )
    patience_seconds = commands.LONG_STATEMENT_SECONDS
    exit_codes: ClassVar = {1: "refused, or (--wait) not everything was done"}

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("action", nargs="?", help=f"the action: {', '.join(KINDS)}")
        parser.add_argument(
            "--stop",
            "--cancel",
            dest="cancel",
            type=row_number,
            metavar="ID",
            help="stop this operation after its current chunk; --cancel is the older name of this option",
        )
        parser.add_argument(
            "--resume",
            type=row_number,
            metavar="ID",
            help="continue this operation with its remaining members",
        )
        for name in FILTERS:
            parser.add_argument(f"--{name}", help=f"the value of the list's filter '{name}'")
        parser.add_argument("--customer", help="only jobs of this customer")
        parser.add_argument("--all", action="store_true", help="everything, without any filter")
        parser.add_argument("--reason", help="the reason, kept with the operation and on each timeline")
        commands.add_operator(parser)
        commands.add_dry_run(parser)
        commands.add_json(parser)
        parser.add_argument(
            "--wait", action="store_true", help="carry it out in this process and show the progress"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        self._as_json: bool = options["json"]
        self._progress = commands.Progress(sys.stderr)
        wanted = [name for name in ("action", "cancel", "resume") if options[name] is not None]
        if len(wanted) != 1:
            raise wrong("Give exactly one of these: an action with filters, --stop ID, --resume ID.")
        if wanted != ["action"]:
            refuse_ignored(options, OF_AN_ACTION, f"with --{_OPTION[wanted[0]]}")
        if wanted == ["cancel"]:
            refuse_ignored(options, ["wait"], "with --stop")
        if not options["dry_run"]:
            required_reason(options["reason"], decisions.KEPT)
        try:
            operation = self._decide(wanted[0], options)
        except OpsConsoleError as error:
            raise CommandError(str(error)) from error
        if operation and options["wait"]:
            self._work(operation)
        elif operation and self._as_json:
            self.tell(_state(_existing(operation.pk)), (), as_json=True)

    def _decide(self, wanted: str, options: dict[str, Any]) -> BulkOperation | None:
        actor = Actor.operator(options["operator"], None)
        if wanted == "action":
            return self._begin(kind_of(options["action"]), actor, options)
        operation = _existing(options[wanted])
        decide: Callable[..., BulkOperation] = getattr(decisions, wanted)
        with transaction.atomic():
            after = decide(operation, actor, options["reason"])
            _log(options, after, {"cancel": "Stopped", "resume": "Resumed"}[wanted])
        self._line(f"Bulk operation {operation.pk} {_DECIDED[wanted]}.")
        if wanted == "cancel" and self._as_json:
            self.tell(_state(after), (), as_json=True)
        return operation if wanted == "resume" else None

    def _begin(self, kind: Kind, actor: Actor, options: dict[str, Any]) -> BulkOperation | None:
        chosen, scope, query = _chosen(kind, options)
        operation = self._frozen(
            background_freezing.prepare(kind, chosen, actor, scope=scope, query=query), kind
        )
        self._show(operation, kind)
        if options["dry_run"]:
            if self._as_json:
                self.tell(_preview(operation), (), as_json=True)
            operation.delete()
            self._line("Nothing was changed.")
            return None
        # The filters and the reason in the command are confirmation enough: no size has to be typed.
        with transaction.atomic():
            after = decisions.begin(operation, actor, options["reason"], typed=str(operation.will))
            _log(options, after, "Begun")
        self._line(f"Bulk operation {operation.pk} has begun.")
        return operation

    def _frozen(self, operation: BulkOperation, kind: Kind) -> BulkOperation:
        """Return the operation as soon as it is a whole preview; its pages are frozen here and in the cluster."""
        made, runner = BulkOperation.objects.filter(pk=operation.pk), uuid4().hex
        while operation.state == State.FREEZING:
            self._progress.show(f"{kind.count(operation.total)} frozen")
            if not chunks.work(operation, runner):
                time.sleep(LOOK_SECONDS)
            operation = made.get()
        self._progress.clear()
        if operation.state != State.PREVIEW:
            raise CommandError(
                f"The preview could not be prepared. Nothing was changed. {operation.sentence}".strip()
            )
        return operation

    def _line(self, sentence: str) -> None:
        if not self._as_json:
            self.stdout.write(sentence)

    def _show(self, operation: BulkOperation, kind: Kind) -> None:
        self._line(f"{kind.verb} ({operation.scope}): {kind.count(operation.will)} of {operation.total:,}.")
        if operation.capped:
            self._line(f"More rows match; the operation takes the oldest {operation.total:,}.")
        for will, word in ((True, "will"), (False, "skip")):
            for group in freezing.groups(operation, will=will):
                self._line(f"{word}  {group.count:>9,}  {_seen(group, kind)}: {group.example}")
        for member in freezing.sample(operation, SAMPLE):
            self._line(f"      {member.subject}  {member.sentence}")

    def _work(self, operation: BulkOperation) -> None:
        """Run chunks here, in parallel with the cluster, until the operation is no longer running."""
        shown = -1
        while (now := _existing(operation.pk)).state == State.RUNNING:
            if now.settled != shown:
                self._progress.show(f"{now.settled:,} of {now.total:,} settled")
                shown = now.settled
            if not chunks.run(seconds=LOOK_SECONDS):
                time.sleep(LOOK_SECONDS)
        self._progress.clear()
        if self._as_json:
            self.tell(_state(now), (), as_json=True)
        self._line(
            f"{now.get_state_display().capitalize()}: {now.done:,} done, {now.skipped:,} skipped, "
            f"{now.failed:,} failed, {now.remaining:,} left. {now.sentence}".strip()
        )
        if now.state != State.ENDED or now.failed:
            raise CommandError(
                "Not everything was done. The page of the operation shows the outcome of each member."
            )


def _seen(group: freezing.Group, kind: Kind) -> str:
    """Return in words what was seen of these members: their status, and a job's diagnosis or a letter's job."""
    status = group.seen_status
    word = kind.states.get(status) or (status_wording.within_sentence(status) if status else "")
    return f"{word} {group.seen_reason.replace('_', ' ')}".strip()


def _state(operation: BulkOperation) -> dict[str, Any]:
    counts = ("total", "done", "skipped", "failed", "remaining")
    return {
        "id": operation.pk,
        "state": operation.state,
        "scope": operation.scope,
        **{name: getattr(operation, name) for name in counts},
        "sentence": operation.sentence,
    }


def _preview(operation: BulkOperation) -> dict[str, Any]:
    groups = {
        word: [
            {
                "count": group.count,
                "status": group.seen_status,
                "reason": group.seen_reason,
                "sentence": group.example,
            }
            for group in freezing.groups(operation, will=will)
        ]
        for will, word in ((True, "will"), (False, "skip"))
    }
    return {
        "dry_run": True,
        "scope": operation.scope,
        "total": operation.total,
        "capped": operation.capped,
    } | groups


def _log(options: dict[str, Any], operation: BulkOperation, word: str) -> None:
    did = f"{word}: {decisions.figures(operation)}."
    audit.log_command(options["operator"], [operation], did, why=options["reason"])


def _existing(number: int) -> BulkOperation:
    operation = BulkOperation.objects.begun().filter(pk=number).first()
    if operation is None:
        raise CommandError(f"There is no bulk operation {number}. Nothing was changed.")
    return operation


def _chosen(kind: Kind, options: dict[str, Any]) -> tuple[QuerySet[Any], str, str]:
    """Return the rows that the list of this kind shows with these filters, the choice in words and the query string."""
    filters = {name: options[name] for name in FILTERS if options[name] is not None}
    customer = "" if options["customer"] is None else plain_text(options["customer"])
    if options["customer"] is not None and (
        kind.model is not Job or not Job.objects.filter(customer_id=customer).exists()
    ):
        raise CommandError(f"There are no {kind.many} of a customer '{customer}'. Nothing was changed.")
    if bool(filters or customer) == options["all"]:
        raise wrong("Give either at least one filter or --all for everything.")
    try:
        choice = list_choice.choose(kind.model, filters, customer, AnonymousUser())
    except UnknownFilter as error:
        # A page shows no rows for an unknown value; here, the known ones are told.
        if error.value is None:
            raise wrong(
                f"This list has no filter --{error.name}; it has --{', --'.join(error.known)}."
            ) from error
        raise wrong(f"--{error.name} {error.value} is none of: {', '.join(error.known)}.") from error
    return choice.rows, choice.scope, choice.query
