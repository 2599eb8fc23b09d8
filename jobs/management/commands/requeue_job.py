"""The command that requeues jobs."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar
from uuid import UUID

from django.core.management.base import CommandError

from jobs.bulk.registry import kind_of
from jobs.models import Job
from jobs.operations import job_operations
from jobs.operations.steps import JobAction, OperationRefused, Outcome
from jobs.runs.timeline import Actor
from opsconsole.kit import audit, commands, job_ids
from opsconsole.kit.command_arguments import could_not, required_reason, wrong
from opsconsole.kit.exit_codes import COULD_NOT


class Command(commands.ConsoleCommand):
    help = "Requeue jobs that failed, were cancelled, or whose run is stale, hung or unknown (quarantined: --release)."
    examples = (
        'requeue_job 5a3c91d2-7c1b-4f0e-9a55-0d3f6a1b2c3d --dry-run --reason "looking"',
        'requeue_job 5a3c91d2-7c1b-4f0e-9a55-0d3f6a1b2c3d --reason "address was mended"',
    )
    exit_codes: ClassVar = {
        1: "some jobs were skipped, or nothing was done; a sentence says why",
        COULD_NOT: "unknown whether some jobs were requeued; or the database, the settings or the output failed",
    }

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("job", nargs="+", help="id of a job")
        parser.add_argument("--reason", required=True, help="the reason, kept on each job's timeline")
        parser.add_argument("--release", action="store_true", help="release quarantined jobs")
        commands.add_operator(parser)
        commands.add_dry_run(parser)
        commands.add_json(parser)

    def handle(self, *args: Any, job: list[str], **options: Any) -> None:
        ids = [_parse(text) for text in job]
        options["reason"] = required_reason(options["reason"], job_operations.KEPT)
        action = JobAction.RELEASE if options["release"] else JobAction.REQUEUE
        steps = job_operations.plan(action, ids)
        unknown = [job_id for job_id in ids if job_id not in {step.job_id for step in steps}]
        if options["dry_run"]:
            outcomes = [Outcome(step.job_id, step.will, step.sentence) for step in steps]
        else:
            actor = Actor.operator(options["operator"], None)
            try:
                outcomes = job_operations.carry_out(
                    steps, actor, options["reason"], record=partial(_log, action, options)
                )
            except OperationRefused as error:
                raise CommandError(str(error)) from error
        outcomes += [Outcome(job_id, done=False, sentence="There is no such job.") for job_id in unknown]
        self._tell_outcomes(outcomes, dry_run=options["dry_run"], as_json=options["json"])

    def _tell_outcomes(self, outcomes: list[Outcome], *, dry_run: bool, as_json: bool) -> None:
        answer = {
            "dry_run": dry_run,
            "jobs": [
                {
                    "id": str(each.job_id),
                    "done": None if each.unknown else each.done,
                    "sentence": each.sentence,
                }
                for each in outcomes
            ],
        }
        lines = [f"{_word(each, dry_run=dry_run):<7}  {each.job_id}  {each.sentence}" for each in outcomes]
        if dry_run:
            lines.append("Nothing was changed.")
        self.tell(answer, lines, as_json=as_json)
        if unknown := sum(outcome.unknown for outcome in outcomes):
            raise could_not(
                f"Whether {unknown} of {len(outcomes)} were requeued is unknown. Look at each before you repeat it."
            )
        if skipped := sum(not outcome.done for outcome in outcomes):
            raise CommandError(f"{skipped} of {len(outcomes)} skipped. The answer above says why.")


def _log(action: JobAction, options: Mapping[str, Any], written: Mapping[UUID, str]) -> None:
    jobs = Job.objects.defer("payload", "error_message").filter(pk__in=written)
    audit.log_command(options["operator"], jobs, kind_of(action).did, why=options["reason"])


def _word(outcome: Outcome, *, dry_run: bool) -> str:
    if outcome.unknown:
        return "unknown"
    if dry_run:
        return "would" if outcome.done else "skip"
    return "done" if outcome.done else "skipped"


def _parse(text: str) -> UUID:
    job_id = job_ids.parse(text)
    if job_id is None:
        raise wrong(f"'{text}' is not a job id, which must be {job_ids.WANTED}.")
    return job_id
