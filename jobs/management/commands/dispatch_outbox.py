"""The command that sends the messages in the outbox, once or in a loop."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any, ClassVar

from django.core.management.base import CommandError
from django.db import Error, close_old_connections, connection

from jobs.messaging import outbox
from jobs.messaging.dispatcher import Dispatched, dispatch
from opsconsole.kit import alive, command_loops, commands, schema_version
from opsconsole.kit.command_arguments import refuse_ignored, whole_number
from opsconsole.kit.errors import first_line

DATABASE = "the database"
LIMIT = 1_000
INTERVAL_SECONDS = 1.0
# The loop sends what is due in long passes: only within a pass is a page leased while the one before is being sent. A pass
# ends after so long, so that a stop and the signs of life never wait for a large burst.
LOOP_LIMIT = 20_000
PASS_SECONDS = 2.0
# After a burst, the next one is looked for soon, and then after twice as long each time, until the interval is reached:
# whoever writes many messages, such as a sweep, commits them page by page.
SOON_SECONDS = 0.02


class Command(commands.ConsoleCommand):
    help = "Send the messages in the outbox to SQS: one pass, or with --loop until stopped."
    examples = ("dispatch_outbox --limit 500 --json", "dispatch_outbox --loop")
    exit_codes: ClassVar = {1: "some messages could not be sent; their rows in the outbox say why"}

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--limit",
            type=whole_number(),
            help=f"messages per pass (default {LIMIT}; with --loop {LOOP_LIMIT}, in at most {PASS_SECONDS:.0f} seconds)",
        )
        parser.add_argument("--loop", action="store_true", help="send until stopped by SIGTERM or SIGINT")
        commands.add_json(parser)
        parser.add_argument("--interval", type=float, help="seconds between the passes of --loop (default 1)")

    def handle(
        self, *_args: Any, limit: int | None, loop: bool, interval: float | None, **options: Any
    ) -> None:
        commands.refuse_json_in_loop(as_json=options["json"], loop=loop)
        if not loop:
            refuse_ignored({"interval": interval}, ["interval"], "without --loop")
        interval = INTERVAL_SECONDS if interval is None else interval
        commands.refuse_odd_interval(interval)
        limit = (LOOP_LIMIT if loop else LIMIT) if limit is None else limit
        if loop:
            self._loop(limit, interval)
        else:
            self._once(limit, as_json=options["json"])

    def _once(self, limit: int, *, as_json: bool) -> None:
        result = dispatch(limit)
        counts = {name: getattr(result, name) for name in ("sent", "dropped", "held", "failed", "refused")}
        self.tell(counts | {"waiting_on": result.waiting_on}, [f"{result}."], as_json=as_json)
        for target, reason in result.waiting_on.items():
            self.stderr.write(f"{target}: {reason}")
        if result.failed or result.refused:
            raise CommandError("Some messages could not be sent. The rows of the outbox say why.")

    def _loop(self, limit: int, interval: float) -> None:
        away: dict[str, str] = {}
        total = 0
        rest = interval
        life = alive.SignOfLife()
        with command_loops.runs_for_long(), command_loops.stopped_by_signals() as stopped:
            while not stopped.is_set():
                result = self._pass(limit, away)
                total += result.sent
                rest = _rest_after(result, limit, rest, interval)
                command_loops.rest(rest, life, stopped, or_rung=True)
        commands.say(self, f"stopped; {total} sent.")

    def _pass(self, limit: int, away: dict[str, str]) -> Dispatched:
        """Run one pass that survives outages of the database and SQS; print a line when one begins or ends."""
        close_old_connections()
        try:
            schema_version.require()
            result = dispatch(limit, seconds=PASS_SECONDS)
        except Error as error:
            connection.close()
            self._tell(away, {DATABASE: first_line(error)}, back=set())
            return Dispatched()
        self._tell(away, result.waiting_on, back={DATABASE, *result.reached} - set(result.waiting_on))
        return result

    def _tell(self, away: dict[str, str], missing: dict[str, str], back: set[str]) -> None:
        for name in missing.keys() - away.keys():
            commands.say(self, f"{name} can't be reached, trying again: {missing[name]}")
        for name in away.keys() & back:
            commands.say(self, f"{name} can be reached again.")
            del away[name]
        away |= missing


def _rest_after(result: Dispatched, limit: int, before: float, interval: float) -> float:
    """Return the seconds until the next pass. ``before``: the rest before this one."""
    if result.sent and result.taken >= limit:
        # More messages are waiting.
        return 0.0
    is_burst = result.sent >= outbox.BURST and not result.waiting_on
    return min(SOON_SECONDS if is_burst else max(2 * before, SOON_SECONDS), interval)
