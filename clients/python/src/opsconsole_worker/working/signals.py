"""The signals that end a worker: the first lets it finish its run, the second ends it at once."""

from __future__ import annotations

import os
import signal

from opsconsole_worker.working.consumer import Consumer

ENDING = (signal.SIGTERM, signal.SIGINT)


def drain_on_signals(consumer: Consumer) -> None:
    """Let SIGTERM and Ctrl-C stop the worker when its current run has ended."""

    def drain(number: int, _frame: object) -> None:
        consumer.stop()
        # The next signal meets the system's default and ends the process at once.
        for each in ENDING:
            signal.signal(each, signal.SIG_DFL)
        # Not with print or the log, because the signal may have interrupted either of them.
        notice = f"{signal.Signals(number).name}: finishing the current run; a second signal ends at once.\n"
        os.write(2, notice.encode())

    for number in ENDING:
        signal.signal(number, drain)
