"""The command that lists stale runs, why they are stale and what will happen to them. Changes nothing."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from jobs.recovery import outlook, surroundings
from jobs.recovery.outlook import Outlook
from jobs.runs.diagnosis import diagnose
from opsconsole.kit import commands
from opsconsole.kit.command_arguments import whole_number
from opsconsole.kit.counting import exactly
from opsconsole.kit.durations import spell


class Command(commands.ConsoleCommand):
    help = "List stale runs, longest waiting first: job, customer, run, silence, reason, what sweeps will do, worker."
    examples = ("find_stale_jobs", "find_stale_jobs --limit 20", "find_stale_jobs --json")

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--limit", type=whole_number(), default=100, help="the most rows to show (default 100)"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object per line")

    def handle(self, *args: Any, limit: int, json: bool, **options: Any) -> None:
        around = surroundings.read()
        outlooks = outlook.preview(around, limit + 1)
        for each in outlooks[:limit]:
            self.stdout.write(_as_json(each) if json else _as_row(each))
        if json:
            return
        if outlooks:
            self.stdout.write(outlook.of_sweeps(around).sentence)
        self.stdout.write(_summary(outlooks, limit))


def _as_json(each: Outlook) -> str:
    job = each.job
    diagnosis = diagnose(job)
    return json.dumps(
        {
            "id": str(job.pk),
            "customer_id": job.customer_id,
            "package_size": job.package_size,
            "priority_level": job.priority_level,
            "run_epoch": job.run_epoch,
            "worker_id": job.worker_id,
            "recovery_count": job.recovery_count,
            "last_seen": job.last_seen.isoformat(),
            "silent_seconds": (job.read_at - job.last_seen).total_seconds(),
            "reason": diagnosis.reason,
            "sentence": diagnosis.sentence,
            "outlook": {
                "action": each.action,
                "locked": each.locked,
                "when": each.when,
                "at": each.at.isoformat() if each.at else None,
                "reason": each.reason,
                "sentence": each.sentence,
            },
        }
    )


def _as_row(each: Outlook) -> str:
    job, will = each.job, each.verb
    silence = spell(job.read_at - job.last_seen)
    reason = diagnose(job).reason
    why = reason.label if reason else ""
    worker = job.worker_id or "-"
    return f"{job.pk}  {job.customer:<20}  run {job.run_epoch:<3}  {silence:>12}  {why:<16}  {will:<10}  {worker}"


def _summary(outlooks: list[Outlook], limit: int) -> str:
    unknown = sum(each.is_unknown for each in outlooks[:limit])
    alive_or_dead = (
        f" Of {exactly(unknown, 'other silent run')} it is unknown whether it is alive." if unknown else ""
    )
    if len(outlooks) > limit:
        return f"The first {limit} {'silent' if unknown else 'stale'} runs; there are more.{alive_or_dead}"
    stale = len(outlooks) - unknown
    return f"{exactly(stale, 'stale run') if stale else 'No stale runs'}.{alive_or_dead}"
