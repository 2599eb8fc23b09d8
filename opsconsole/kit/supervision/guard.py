"""A program that ends the processes of an owner that ended for any reason.

It runs in its own session, with the read end of a pipe as standard input. A line ``+TARGET SIGNAL`` adds a target and a
line ``-TARGET`` removes one; a negative target is a process group, as for kill(2). When the last writer has closed the
pipe, the remaining targets receive their signals. The program imports nothing of the project, so that it starts at once
and does not fail when the project's code does.
"""

import os
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress


def targets_left(lines: Iterable[str]) -> dict[int, int]:
    """Read all lines, and return the targets that were added and not removed, each with its signal."""
    targets: dict[int, int] = {}
    for line in lines:
        target, _, number = line[1:].partition(" ")
        if line.startswith("+"):
            targets[int(target)] = int(number)
        else:
            targets.pop(int(target), None)
    return targets


def send(target: int, number: int) -> None:
    """Send a signal to a process or group. One that has already ended is no error."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(target, number)


def main() -> None:
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    for target, number in targets_left(sys.stdin).items():
        send(target, number)


if __name__ == "__main__":
    main()
