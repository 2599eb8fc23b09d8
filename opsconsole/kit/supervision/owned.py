"""Programs that end with the process that started them, however that ends: by itself or by kill -9.

A guard (``opsconsole.kit.supervision.guard``) outlives the owner for a moment, and notices its end by a pipe that only the
owner holds open. This works on every Unix, from every thread, and for the whole group of a program.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from typing import Any

from opsconsole.kit.supervision import guard

_guards: weakref.WeakSet[Guard] = weakref.WeakSet()
_starting = threading.local()


class Guard:
    """The guard process, which outlives us for a moment. If it was killed, the next ``renew`` replaces it."""

    def __init__(self) -> None:
        self._owner = os.getpid()
        # For each process that we started: the target of its signal, and the signal.
        self._targets: dict[int, tuple[int, signal.Signals]] = {}
        self._start()
        _guards.add(self)

    def _start(self) -> None:
        read, self._pipe = os.pipe()
        # Write the targets before the guard starts: if we are killed right afterwards, the new guard knows them all.
        self._write("".join(f"+{target} {number:d}\n" for target, number in self._targets.values()))
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__],
            stdin=read,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(read)

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(
        self,
        command: Sequence[str],
        *,
        end_signal: signal.Signals = signal.SIGKILL,
        whole_group: bool = True,
        **options: Any,
    ) -> subprocess.Popen[bytes]:
        """Start a program as the leader of its own session and process group, which Ctrl-C in our terminal does not reach.

        When we end, ``end_signal`` is sent to the whole group or to the program alone. ``options`` are those of ``Popen``.
        """
        sign = -1 if whole_group else 1

        def enrol() -> None:
            # The child does so before it becomes the program, and is never unguarded. One system call and no lock are
            # safe after a fork.
            os.write(self._pipe, b"+%d %d\n" % (sign * os.getpid(), end_signal))

        _starting.now = True
        try:
            process = subprocess.Popen(
                command,
                start_new_session=True,
                preexec_fn=enrol,  # noqa: PLW1509
                **options,
            )
        finally:
            _starting.now = False
        self._targets[process.pid] = (sign * process.pid, end_signal)
        return process

    def forget(self, process: subprocess.Popen[bytes]) -> None:
        """Remove a program that has ended: another process may have been given its pid."""
        target, _ = self._targets.pop(process.pid)
        self._write(f"-{target}\n")

    def renew(self) -> None:
        if self._process.poll() is None:
            return
        os.close(self._pipe)
        self._start()

    def _write(self, lines: str) -> None:
        try:
            os.write(self._pipe, lines.encode())
        except BrokenPipeError:
            self.renew()

    def close(self) -> None:
        """End the guard, and through it every program that was not removed. In a fork of the owner, do nothing."""
        if self._owner != os.getpid():
            return
        os.close(self._pipe)
        self._process.wait()

    def leave_to_owner(self) -> None:
        """Close the pipe in a fork of the owner: otherwise it would stay open when the owner ends."""
        os.close(self._pipe)
        self._pipe = -1


def _after_fork() -> None:
    # A fork that is about to become a program still needs the pipe to enrol; the program does not inherit it.
    if getattr(_starting, "now", False):
        return
    for each in list(_guards):
        each.leave_to_owner()
    _guards.clear()


os.register_at_fork(after_in_child=_after_fork)
