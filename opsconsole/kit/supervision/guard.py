"""Ends the process groups of a supervisor that is gone, however it went.

Runs as a program of its own, in its own session, with the read end of a pipe as standard input. Lines
``+GROUP`` and ``-GROUP`` come and go; when the last writer is gone, the groups that are left are killed. It
imports nothing of ours, so that it starts at once and can't fail with us.
"""

import os
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress


def groups_left(lines: Iterable[str]) -> set[int]:
    """The groups that were named and not taken back, once the lines end."""
    groups: set[int] = set()
    for line in lines:
        change = groups.add if line.startswith("+") else groups.discard
        change(int(line[1:]))
    return groups


def kill_group(group: int) -> None:
    """Kill each process of the group; one that is gone already is what was wanted."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for group in groups_left(sys.stdin):
        kill_group(group)


if __name__ == "__main__":
    main()
