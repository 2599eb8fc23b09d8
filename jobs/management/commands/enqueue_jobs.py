"""The command that enqueues jobs from its options or from a file."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError
from django.db import DatabaseError, transaction

from jobs.intake.enqueue import InvalidJob, NewJob, enqueue_many, first_refused
from jobs.intake.parse import parse_job, parse_lines, parse_payload
from jobs.models import Job
from opsconsole.kit import audit, commands
from opsconsole.kit.command_arguments import could_not, refuse_ignored, whole_number, wrong
from opsconsole.kit.counting import exactly
from opsconsole.kit.exit_codes import WRONG_ARGUMENTS
from opsconsole.kit.kept_changes import Kept, OutcomeUnknown
from opsconsole_worker import refusals

LINES_SHOWN = 20
OF_ONE_JOB = ("customer", "package_size", "priority", "payload", "queue", "count")
# More would be one transaction of many minutes, and many gigabytes of memory.
MOST_IDENTICAL = 100_000


class Command(commands.ConsoleCommand):
    help = "Enqueue one job, several identical jobs, or the jobs of a JSON Lines file: all of them or none."
    examples = (
        'enqueue_jobs --customer TEST-001 --package-size 50 --payload \'{"business": "Café Blüte"}\'',
        "enqueue_jobs --from-file jobs.jsonl --json",
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--customer", help="id of the customer")
        parser.add_argument("--package-size", type=int, help="size of the package")
        parser.add_argument("--priority", help="priority level (default: that of the database)")
        parser.add_argument("--payload", help="a JSON object for the handler")
        parser.add_argument("--queue", help="name of the queue (default: default)")
        parser.add_argument(
            "--count",
            type=whole_number(most=MOST_IDENTICAL),
            help=f"number of identical jobs (default 1, at most {MOST_IDENTICAL:,})",
        )
        parser.add_argument(
            "--from-file",
            metavar="JOBS.JSONL",
            help="a file with one JSON object per line; '-': standard input",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object instead of ids")
        parser.add_argument("--reason", default="", help="the reason, stored in the audit")
        commands.add_operator(parser)

    def handle(self, *args: Any, json: bool, **options: Any) -> None:
        new_jobs = _from_file(options) if options["from_file"] else _from_options(options)
        try:
            with transaction.atomic():
                ids = [str(job_id) for job_id in enqueue_many(new_jobs)]
                _log(new_jobs, ids, options["operator"], options["reason"])
        except OutcomeUnknown as error:
            raise could_not(
                f"{Kept.UNKNOWN.sentence} All of the jobs were enqueued or none: {_look_for(new_jobs[0])}."
            ) from error
        except DatabaseError as error:
            # The table may have constraints, column types and triggers that only the database knows.
            refusal = refusals.of(error)
            if refusal is None:
                raise
            which = _which(new_jobs, options["from_file"])
            raise CommandError(f"Nothing was enqueued. {which}{refusal.sentence}") from error
        self.stdout.write(_as_json(ids) if json else "\n".join(ids))


def _look_for(new: NewJob) -> str:
    return (
        f"look for the job {new.id}"
        if new.id is not None
        else f"look at the newest jobs of {new.customer_id}"
    )


def _log(new_jobs: list[NewJob], ids: list[str], operator: str, reason: str) -> None:
    """Write one line, however many jobs there are. Each has a timeline of its own."""
    first, several = ids[0], len(ids) > 1
    queues = " and ".join(sorted({new.queue for new in new_jobs}))
    which = f"{exactly(len(ids), 'job')}, the first is {first}," if several else f"the job {first}"
    rows = Job.objects.none() if several else Job.objects.filter(pk=first)
    actor = audit.command_actor(operator)
    audit.log_without_user(actor, f"Enqueued {which} for the queue {queues}.", why=reason, rows=rows)


def _which(new_jobs: list[NewJob], file: str | None) -> str:
    """Name the job that the database refuses, or '' where there is only one or none is refused any more."""
    index = first_refused(new_jobs) if len(new_jobs) > 1 else None
    if index is None:
        return ""
    # Jobs keep the order of the lines, and bad lines were refused before.
    return f"Job {index + 1} of {len(new_jobs)}{' in the file' if file else ''}: "


def _from_options(options: dict[str, Any]) -> list[NewJob]:
    if options["customer"] is None or options["package_size"] is None:
        raise wrong("Give --customer and --package-size, or --from-file.")
    given = {
        "customer_id": options["customer"],
        "package_size": options["package_size"],
        "priority": options["priority"],
        "queue": options["queue"],
    }
    record = {name: value for name, value in given.items() if value is not None}
    try:
        record["payload"] = parse_payload(options["payload"] or "{}")
        return [parse_job(record) for _ in range(options["count"] or 1)]
    except InvalidJob as error:
        raise wrong(str(error)) from error


def _from_file(options: dict[str, Any]) -> list[NewJob]:
    refuse_ignored(options, OF_ONE_JOB, "with --from-file: each line says it of its job")
    jobs, bad = parse_lines(_read(options["from_file"]).split("\n"))
    if bad:
        shown = "\n".join(str(line) for line in bad[:LINES_SHOWN])
        raise CommandError(
            f"Nothing was enqueued. Lines that are not a job: {len(bad)}.\n{shown}",
            returncode=WRONG_ARGUMENTS,
        )
    if not jobs:
        raise wrong("The file has no jobs.")
    return jobs


def _read(name: str) -> str:
    try:
        return (
            sys.stdin.read().removeprefix("\ufeff")
            if name == "-"
            else Path(name).read_text(encoding="utf-8-sig")
        )
    except (OSError, UnicodeDecodeError) as error:
        raise wrong(f"'{name}' can't be read: {error}.") from error


def _as_json(ids: list[str]) -> str:
    return json.dumps({"enqueued": len(ids), "ids": ids})
