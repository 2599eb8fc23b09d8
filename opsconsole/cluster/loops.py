"""The loops beside a cluster, such as the dispatcher and the sender of alerts, as threads of one process.

Each has its own connection and gives its own signs of life. If one ends or hangs, the process ends, and the supervisor starts
all of them again: what a loop had begun is continued after a lease, as after any crash.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Sequence
from functools import partial
from multiprocessing import connection

from django.core.management import CommandError, call_command
from django.db import connections

from opsconsole import error_reports
from opsconsole.kit import alive, command_loops, doorbell
from opsconsole.kit.supervision.supervisor import Program, StopRequests

logger = logging.getLogger(__name__)

LOOPS = "loops"
LOOK_SECONDS = 5.0
# A turn that does not end in this time hangs. The longest waits are those for SQS and for channels, many times in a turn.
HUNG_SECONDS = 600.0
FAILED = 1

Words = Sequence[str]


def program(loops: Sequence[Words], *, grace: float) -> Program:
    """Return the program that runs these commands; each is told to loop."""
    names = [words[0] for words in loops]
    return Program(LOOPS, ["opsconsole", LOOPS, *names], grace=grace, run=partial(run, loops, grace))


class _Loop(threading.Thread):
    def __init__(self, words: Words, stopped: threading.Event) -> None:
        super().__init__(name=words[0], daemon=True)
        self.words = words
        self._stopped = stopped
        self._sign_at = time.monotonic()

    @property
    def trouble(self) -> str:
        """Return what is wrong with it, or an empty string."""
        if not self.is_alive():
            return f"The loop {self.name} ended"
        silent = time.monotonic() - self._sign_at
        return (
            f"The loop {self.name} has not finished a turn for {silent:.0f} s"
            if silent > HUNG_SECONDS
            else ""
        )

    def run(self) -> None:
        try:
            with command_loops.stopped_by(self._stopped), alive.heard_by(self._hear):
                call_command(*self.words)
        except CommandError as error:
            logger.error("%s: %s", self.name, error)  # noqa: TRY400 - a sentence for whoever runs it
        except Exception:
            # The end of a thread, whatever the error: it is told in the log, and the process ends by it.
            logger.exception("The loop %s failed", self.name)
        finally:
            connections.close_all()

    def _hear(self) -> None:
        self._sign_at = time.monotonic()


def run(loops: Sequence[Words], grace: float) -> None:
    """Run the loops until asked to stop. End the process when one of them ends or hangs."""
    # The supervisor has what belongs beside it, such as the port of the metrics.
    command_loops.beside.clear()
    stopped = threading.Event()
    threads = [_Loop(words, stopped) for words in loops]
    troubles: dict[_Loop, str] = {}
    with StopRequests() as stop:
        for each in threads:
            each.start()
        while not stop.asked and not troubles:
            connection.wait([stop.fd], LOOK_SECONDS)
            troubles = {each: trouble for each in threads if (trouble := each.trouble)}
        stopped.set()
        doorbell.ring()
        ends_at = time.monotonic() + grace
        for each in threads:
            # The others finish their turns: nobody would know whether what they are sending arrived.
            if each not in troubles:
                each.join(max(0.0, ends_at - time.monotonic()))
    if troubles:
        logger.critical("%s; the loops start again.", "; ".join(troubles.values()))
        error_reports.flush()
        # Not at the end of a turn that never comes.
        os._exit(FAILED)
