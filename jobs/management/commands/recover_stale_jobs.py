"""The command that recovers stale runs, once or in a loop."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from jobs.messaging import queue_depths
from jobs.models import Sweep
from jobs.recovery import outlook, surroundings, sweeps
from opsconsole.kit import audit, commands, intervals


class Command(BaseCommand):
    help = "Find stale runs and recover them, as the scheduled sweep does."

    def add_arguments(self, parser: ArgumentParser) -> None:
        commands.add_dry_run(parser)
        parser.add_argument(
            "--limit", type=int, default=500, help="the most rows shown by --dry-run (default 500)"
        )
        parser.add_argument("--loop", action="store_true", help="sweep until stopped by SIGTERM or SIGINT")
        parser.add_argument(
            "--interval",
            type=float,
            help="seconds between the sweeps of --loop (default: OPSCONSOLE_SWEEP_INTERVAL_SECONDS)",
        )

    def handle(
        self, *args: Any, dry_run: bool, limit: int, loop: bool, interval: float | None, **options: Any
    ) -> None:
        if interval is None:
            interval = intervals.of_sweeps().seconds
        elif not loop or dry_run:
            raise CommandError(
                "--interval only has an effect with --loop and without --dry-run. Nothing was changed."
            )
        if interval <= 0:
            raise CommandError("--interval must be more than 0 seconds.")
        if dry_run:
            self._preview(limit)
        elif loop:
            self._loop(interval)
        elif self._once().errors:
            raise CommandError("Some runs could not be recovered. The page of the sweep lists them.")

    def _preview(self, limit: int) -> None:
        around = surroundings.read()
        if not around.armed:
            self.stdout.write(f"{outlook.of_sweeps(around).sentence} If recovery were armed now:")
            around = surroundings.if_armed(around, around.policy.cutoff)
        outlooks = outlook.preview(around, limit, probing=True)
        for each in outlooks:
            self.stdout.write(f"{each.verb:<10} {each.job.pk} run {each.job.run_epoch}: {each.why}")
        if outlooks:
            self.stdout.write(outlook.of_sweeps(around).sentence)
        self.stdout.write(f"{outlook.totals(outlooks)}; nothing was changed.")

    def _loop(self, interval: float) -> None:
        reader = queue_depths.BackgroundReader()

        def turn() -> None:
            reader.read_if_due()
            self._sweep(timedelta(seconds=interval))

        commands.repeat(turn, interval, lambda sentence: commands.say(self, sentence))

    def _once(self) -> Sweep:
        queue_depths.refresh_queue_states()
        sweep = self._sweep(intervals.of_sweeps().every)
        if sweep.requeued or sweep.quarantined or sweep.resent:
            said = f"Swept: {sweep.totals}; lost messages re-sent {sweep.resent:,}."
            audit.log_command("", [sweep], said, why=audit.NOT_ASKED)
        return sweep

    def _sweep(self, every: timedelta) -> Sweep:
        sweep = sweeps.sweep("command", every=every)
        commands.say(self, f"{sweep.totals}; lost messages re-sent {sweep.resent:,}. {sweep.note}")
        for line in sweep.details["lines"]:
            commands.say(self, line)
        return sweep
