"""Programs that end with the process that started them, however that ends: by itself or by kill -9.

A guard (``opsconsole.kit.supervision.guard``) outlives the owner for a moment, and notices its end by a pipe that only the
owner holds open. This works on every Unix, from every thread, and for the whole group of a program.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from typing import Any, Protocol, cast

import setproctitle

from opsconsole.kit.supervision import guard, starting

logger = logging.getLogger(__name__)

_guards: weakref.WeakSet[Guard] = weakref.WeakSet()
_starting = threading.local()
# What a supervisor handles in its own way.
_RESET = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Started(Protocol):
    """A process that was started as a program or as a fork."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None:
        """Return the exit code, or minus the number of the signal that killed the process; None while it runs."""

    def terminate(self) -> None: ...

    def wait(self) -> int: ...


class Fork:
    """A process that runs a function of ours, in a fork of this one, whose memory it shares until one of them writes to it."""

    def __init__(self, run: Callable[[], None]) -> None:
        self._process = get_context("fork").Process(target=run)
        starting.start(self._process)
        self.pid = cast(int, self._process.pid)
        # A descriptor that is readable once the process has ended.
        self.sentinel = self._process.sentinel

    def poll(self) -> int | None:
        return self._process.exitcode

    def terminate(self) -> None:
        self._process.terminate()

    def wait(self) -> int:
        self._process.join()
        return self._process.exitcode or 0


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

    def fork(self, run: Callable[[], None], title: str) -> Fork:
        """Run a function in a fork, which leads a session and process group of its own and is killed with it when we end.

        The fork has no standard input and the signals' usual effects. Threads and locks of ours must not concern it.
        ``title`` is what ``ps`` shows of it.
        """

        def lead() -> None:
            os.setsid()
            os.write(self._pipe, b"+%d %d\n" % (-os.getpid(), signal.SIGKILL))
            _starting.now = False
            _after_fork()
            for number in _RESET:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _RESET)
            # Its title takes the place of our command line, and leaves alone the environment that /proc shows.
            os.environ["SPT_NOENV"] = "1"
            setproctitle.setproctitle(title)
            try:
                run()
            except Exception:
                # Otherwise it would be told past the log, which has one format and reaches whoever reads errors.
                logger.exception("%s ended by an error", title)
                sys.exit(1)

        _starting.now = True
        # A signal that arrives before the fork has its own handlers would be lost.
        signal.pthread_sigmask(signal.SIG_BLOCK, _RESET)
        try:
            fork = Fork(lead)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _RESET)
            _starting.now = False
        self._targets[fork.pid] = (-fork.pid, signal.SIGKILL)
        return fork

    def forget(self, process: Started) -> None:
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
        # A later fork must not close this number, which another file may have by then.
        _guards.discard(self)
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
