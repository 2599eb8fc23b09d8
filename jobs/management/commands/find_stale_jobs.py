"""List the runs that count as stale now, and why. Changes nothing."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from jobs.models import Job
from jobs.models.job import JobWithEvidence
from jobs.runs.diagnosis import diagnose
from opsconsole.kit.counting import exactly
from opsconsole.kit.durations import spell


class Command(BaseCommand):
    help = "List stale runs, the longest waiting first: job, customer, run, worker, silence and why."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--limit", type=int, default=100, help="at most so many rows (default 100)")
        parser.add_argument("--json", action="store_true", help="one JSON object a line")

    def handle(self, *args: Any, limit: int, json: bool, **options: Any) -> None:
        if limit < 1:
            raise CommandError("--limit must be at least 1.")
        jobs = list(Job.objects.stale().order_by("updated_at", "pk")[: limit + 1])
        for job in jobs[:limit]:
            self.stdout.write(_as_json(job) if json else _as_row(job))
        if not json:
            self.stdout.write(_summary(len(jobs), limit))


def _as_json(job: JobWithEvidence) -> str:
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
        }
    )


def _as_row(job: JobWithEvidence) -> str:
    silence = spell(job.read_at - job.last_seen)
    reason = diagnose(job).reason
    why = reason.label if reason else ""
    worker = job.worker_id or "-"
    return f"{job.pk}  {job.customer_id:<20}  run {job.run_epoch:<3}  {silence:>12}  {why:<16}  {worker}"


def _summary(found: int, limit: int) -> str:
    if not found:
        return "No stale runs."
    if found > limit:
        return f"The first {limit} stale runs; there are more."
    return f"{exactly(found, 'stale run')}."
