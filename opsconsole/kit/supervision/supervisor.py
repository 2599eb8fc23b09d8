"""A supervisor that keeps other programs running, each in its own process group, and leaves none of them behind.

A program that ends is started again after a pause. Only the leader of a group is asked to end, so that it can let its
own children finish; the whole group is killed. When the supervisor itself is killed, a guard
(``opsconsole.kit.supervision.guard``) sees its pipe close and kills the groups.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import connection
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Self

from opsconsole.kit.supervision import guard
from opsconsole.kit.supervision.owned import Fork, Guard, Started

TURN_SECONDS = 0.2
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
# A program that ran for as long as the longest pause does not fail at once: its next pause is the first one again.
SETTLED_SECONDS = LONGEST_PAUSE_SECONDS

Say = Callable[[str, str], None]


@dataclass(frozen=True)
class Program:
    """A program to run. ``log`` None: it writes its output where we write ours.

    ``grace``: the seconds that it may take to end. ``once``: it is not started again when it ends. ``run``: a function that
    runs in a fork of ours instead of the words of ``argv``, which then only name it; ``env`` and ``log`` are ours.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    log: Path | None = None
    grace: float = 10.0
    once: bool = False
    run: Callable[[], None] | None = None


class Child:
    """A running program, the leader of its own process group."""

    def __init__(self, program: Program, watcher: Guard) -> None:
        self.program = program
        self.started_at = time.monotonic()
        self._guard = watcher
        self._process: Started
        if program.run:
            self._process = watcher.fork(program.run, " ".join(program.argv))
            return
        output = _open_log(program.log)
        try:
            self._process = watcher.start(
                program.argv,
                env=program.env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output else None,
            )
        finally:
            if output:
                output.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Return the exit code, or minus the number of the signal that killed the child; None while it runs."""
        return self._process.poll()

    @property
    def sign(self) -> int | None:
        """Return a descriptor that is readable once the child has ended; None where there is none."""
        return self._process.sentinel if isinstance(self._process, Fork) else None

    @property
    def lived(self) -> float:
        """Return the seconds since the child started."""
        return time.monotonic() - self.started_at

    def ask_to_end(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        """Kill the whole group, even if its leader has already ended."""
        guard.send(-self.pid, signal.SIGKILL)
        # A fork that has just been made does not lead its group yet.
        guard.send(self.pid, signal.SIGKILL)
        self._process.wait()
        self._guard.forget(self._process)


def _open_log(path: Path | None) -> IO[bytes] | None:
    return path.open("ab") if path else None


def ending(code: int) -> str:
    """Return 'ended with code 3' or 'was killed by SIGKILL'."""
    if code >= 0:
        return f"ended with code {code}"
    return f"was killed by {signal.Signals(-code).name}"


@dataclass
class _Kept:
    program: Program
    child: Child | None
    pause: float = FIRST_PAUSE_SECONDS
    due_at: float = 0.0


class Supervisor:
    """Starts programs, restarts those that end, and finally ends them all. Only one thread may use it."""

    def __init__(self, say: Say, before_start: Callable[[], None] = lambda: None) -> None:
        """``before_start`` closes what a fork must not share with us."""
        self._say = say
        self._before_start = before_start
        self._guard = Guard()
        self._kept: dict[str, _Kept] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for kept in self._kept.values():
            if kept.child:
                kept.child.kill()
        self._kept.clear()
        self._guard.close()

    def start(self, program: Program) -> Child:
        """Run a program and keep it running."""
        self._before_start()
        child = Child(program, self._guard)
        self._kept[program.name] = _Kept(program, child)
        return child

    def run(self, program: Program, *, stop: StopRequests) -> int | None:
        """Run a program once until it ends, and return its exit code; None when a request to stop came first."""
        child = Child(program, self._guard)
        try:
            while (code := child.code) is None and not stop.asked:
                time.sleep(TURN_SECONDS)
        finally:
            child.kill()
        return code

    def child(self, name: str) -> Child | None:
        """Return the running child of that name; None while it waits for its next start."""
        return self._kept[name].child

    def groups(self) -> list[int]:
        return [kept.child.pid for kept in self._kept.values() if kept.child]

    def wait(self, seconds: float, stop: StopRequests) -> None:
        """Wait until a program ends, one is due to start, or we are asked to end: at most for so long."""
        now = time.monotonic()
        signs = [stop.fd]
        for kept in self._kept.values():
            if kept.child is None:
                seconds = min(seconds, max(0.0, kept.due_at - now))
            elif kept.child.sign is None:
                seconds = min(seconds, TURN_SECONDS)
            elif not (kept.program.once and kept.child.code is not None):
                signs.append(kept.child.sign)
        connection.wait(signs, seconds)

    def turn(self) -> list[str]:
        """Check all programs once, and return the names of those that were started again."""
        self._guard.renew()
        for kept in self._kept.values():
            ended = kept.child.code if kept.child and not kept.program.once else None
            if ended is not None:
                self._end(kept, ending(ended))
        return [name for name, kept in self._kept.items() if self._start_when_due(kept)]

    def restart(self, name: str, why: str) -> None:
        """Kill a program's whole group. The program is started again like one that ended."""
        self._end(self._kept[name], f"was killed by the supervisor: {why}")

    def _end(self, kept: _Kept, how: str) -> None:
        child = kept.child
        if child is None:
            return
        child.kill()
        kept.child = None
        if child.lived >= SETTLED_SECONDS:
            kept.pause = FIRST_PAUSE_SECONDS
        self._pause(kept, f"process {child.pid} {how}; it starts again")

    def _pause(self, kept: _Kept, what: str) -> None:
        pause = kept.pause
        kept.due_at = time.monotonic() + pause
        kept.pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
        self._say(kept.program.name, f"{what} in {pause:.0f} s")

    def _start_when_due(self, kept: _Kept) -> bool:
        if kept.child or time.monotonic() < kept.due_at:
            return False
        self._before_start()
        try:
            kept.child = Child(kept.program, self._guard)
        except OSError as error:
            self._pause(kept, f"it could not be started ({error}); that is tried again")
            return False
        return True

    def end(self, stop: StopRequests) -> None:
        """Ask all programs to end, the last started first, wait for each during its grace, and leave the rest to be killed.

        Another request to stop ends the wait.
        """
        requests_before = stop.asked
        running = [kept.child for kept in reversed(self._kept.values()) if kept.child]
        for child in running:
            child.ask_to_end()
        asked_at = time.monotonic()
        while running and stop.asked <= requests_before:
            late = time.monotonic() - asked_at
            running = [child for child in running if child.code is None and late < child.program.grace]
            time.sleep(TURN_SECONDS / 4)


class StopRequests:
    """A context manager that counts the signals asking this process to end."""

    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def __init__(self) -> None:
        self.asked = 0

    def __enter__(self) -> Self:
        # ``fd`` becomes readable with the first request, and ends a wait for other things.
        self.fd, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        self._before = {number: signal.signal(number, self._count) for number in self.signals}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._wake)
        os.close(self.fd)

    def _count(self, number: int, frame: FrameType | None) -> None:
        self.asked += 1
        with suppress(BlockingIOError):
            os.write(self._wake, b".")
