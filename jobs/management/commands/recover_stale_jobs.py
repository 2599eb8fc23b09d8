"""The command that recovers stale runs, once or in a loop."""

from __future__ import annotations

from argparse import ArgumentParser
from dataclasses import replace
from datetime import timedelta
from typing import Any, ClassVar

from django.core.management.base import CommandError

from jobs.messaging import queue_depths
from jobs.models import Sweep
from jobs.recovery import outlook, surroundings, sweeps
from jobs.recovery.surroundings import Stop
from jobs.runs import life_wording
from opsconsole.kit import audit, command_loops, commands, intervals
from opsconsole.kit.command_arguments import refuse_ignored, whole_number

SHOWN = 500
# How the preview goes on after what keeps sweeps from acting.
_SAID_FIRST = {Stop.PAUSED: "After that:", Stop.HELD: "After that:"}
_THEN = {
    Stop.OBSERVING: "If recovery were armed now:",
    Stop.SCHEDULE_PAUSED: "If this command swept now:",
    **_SAID_FIRST,
}


class Command(commands.ConsoleCommand):
    help = "Find stale runs and recover them, as the scheduled sweep does."
    examples = (
        "recover_stale_jobs --dry-run",
        "recover_stale_jobs --json",
        "recover_stale_jobs --loop --interval 15",
    )
    exit_codes: ClassVar = {1: "some runs could not be recovered, or nothing was done; a sentence says why"}

    def add_arguments(self, parser: ArgumentParser) -> None:
        commands.add_dry_run(parser)
        parser.add_argument(
            "--limit", type=whole_number(), help=f"the most rows shown by --dry-run (default {SHOWN})"
        )
        commands.add_json(parser)
        parser.add_argument("--loop", action="store_true", help="sweep until stopped by SIGTERM or SIGINT")
        parser.add_argument(
            "--interval",
            type=float,
            help="seconds between the sweeps of --loop (default: OPSCONSOLE_SWEEP_INTERVAL_SECONDS)",
        )

    def handle(
        self, *args: Any, dry_run: bool, limit: int | None, loop: bool, interval: float | None, **options: Any
    ) -> None:
        as_json: bool = options["json"]
        commands.refuse_json_in_loop(as_json=as_json, loop=loop)
        given = {"loop": loop, "limit": limit, "interval": interval}
        if dry_run:
            refuse_ignored(given, ["loop", "interval"], "with --dry-run")
        else:
            refuse_ignored(given, ["limit"], "without --dry-run")
        if not loop:
            refuse_ignored(given, ["interval"], "without --loop")
        if interval is None:
            interval = intervals.of_sweeps().seconds
        commands.refuse_odd_interval(interval)
        if dry_run:
            self._preview(SHOWN if limit is None else limit, as_json=as_json)
        elif loop:
            self._loop(interval)
        elif self._once(as_json=as_json).errors:
            raise CommandError("Some runs could not be recovered. The page of the sweep lists them.")

    def _preview(self, limit: int, *, as_json: bool) -> None:
        around = surroundings.read()
        prospect = outlook.of_sweeps(around)
        armed, stop = around.armed, prospect.stop
        lines = [f"{prospect.sentence} {_THEN[stop]}"] if stop in _THEN else []
        if not armed:
            around = surroundings.if_armed(around, around.policy.cutoff)
        # Without --dry-run, the command sweeps whatever the schedule does.
        around = replace(around, by_hand=True)
        outlooks = outlook.preview(around, limit, probing=True)
        lines += [f"{each.verb:<10} {each.job.pk} run {each.job.run_epoch}: {each.why}" for each in outlooks]
        if outlooks and stop not in _SAID_FIRST:
            lines.append(outlook.of_sweeps(around).sentence)
        lines += [life_wording.promise(), f"{outlook.totals(outlooks)}; nothing was changed."]
        runs = [
            {
                "id": str(each.job.pk),
                "run_epoch": each.job.run_epoch,
                "action": each.verb,
                "sentence": each.why,
            }
            for each in outlooks
        ]
        preview = {
            "dry_run": True,
            "armed": armed,
            "when": prospect.when,
            "sentence": prospect.sentence,
            "promise": life_wording.promise(),
            "runs": runs,
        }
        self.tell(preview, lines, as_json=as_json)

    def _loop(self, interval: float) -> None:
        reader = queue_depths.BackgroundReader()

        def turn() -> None:
            reader.read_if_due()
            self._say(self._sweep(timedelta(seconds=interval)))

        command_loops.repeat(turn, interval, lambda sentence: commands.say(self, sentence))

    def _once(self, *, as_json: bool) -> Sweep:
        # Two tries per queue, of half a minute each at most; several queues are read at once.
        with self.tell_of_wait_for("SQS", 60):
            queue_depths.refresh_queue_states()
        sweep = self._sweep(intervals.of_sweeps().every)
        if sweep.requeued or sweep.quarantined or sweep.resent:
            did = f"Swept: {sweep.totals}; lost messages re-sent {sweep.resent:,}."
            audit.log_command("", [sweep], did, why=audit.NOT_ASKED)
        if as_json:
            self.tell(_as_json(sweep), (), as_json=True)
        else:
            self._say(sweep)
        return sweep

    def _sweep(self, every: timedelta) -> Sweep:
        return sweeps.sweep("command", every=every)

    def _say(self, sweep: Sweep) -> None:
        commands.say(self, f"{sweep.totals}; lost messages re-sent {sweep.resent:,}. {sweep.note}")
        for line in sweep.details["lines"]:
            commands.say(self, line)


def _as_json(sweep: Sweep) -> dict[str, Any]:
    counts = ("found", "requeued", "quarantined", "skipped", "locked", "errors", "resent")
    return {
        "id": sweep.pk,
        "mode": sweep.mode,
        **{name: getattr(sweep, name) for name in counts},
        "note": sweep.note,
        "lines": sweep.details["lines"],
    }
