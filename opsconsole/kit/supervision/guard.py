"""A program that kills the process groups of a supervisor that ended for any reason.

It runs in its own session, with the read end of a pipe as standard input. A line ``+GROUP`` adds a group and a line
``-GROUP`` removes one; when the last writer has closed the pipe, the remaining groups are killed. The program imports
nothing of the project, so that it starts at once and does not fail when the project's code does.
"""

import os
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress


def groups_left(lines: Iterable[str]) -> set[int]:
    """Read all lines, and return the groups that were added and not removed."""
    groups: set[int] = set()
    for line in lines:
        change = groups.add if line.startswith("+") else groups.discard
        change(int(line[1:]))
    return groups


def kill_group(group: int) -> None:
    """Kill each process of the group. A group that has already ended is no error."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for group in groups_left(sys.stdin):
        kill_group(group)


if __name__ == "__main__":
    main()
