"""A child process that ends with its owner, the process that started it, even when the owner is killed with kill -9."""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from pwd import struct_passwd

from opsconsole.kit.supervision.owned import Guard

STOP_SECONDS = 10.0


@dataclass(frozen=True)
class Child:
    process: subprocess.Popen[bytes]
    end_signal: signal.Signals
    owner: int
    guard: Guard

    def stop(self) -> None:
        """End the child and wait until it has ended. In a fork of the owner, which inherits this object, do nothing."""
        if self.owner != os.getpid():
            return
        _end(self.process, self.end_signal)
        self.guard.forget(self.process)
        self.guard.close()
        atexit.unregister(self.stop)


def start(
    command: Sequence[str],
    *,
    folder: Path,
    log: Path,
    end_signal: signal.Signals,
    account: struct_passwd | None = None,
    descriptors: Collection[int] = (),
) -> Child:
    """Start ``command`` in ``folder``, and append its output to ``log``. It receives ``end_signal`` when we end.

    ``account``: the account to run it as; default: ours. ``descriptors``: open files that it inherits.
    """
    with log.open("ab") as output, ExitStack() as on_error:
        guard = Guard()
        on_error.callback(guard.close)
        process = guard.start(
            command,
            end_signal=end_signal,
            # Its leader ends the processes that it started.
            whole_group=False,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
            pass_fds=descriptors,
        )
        on_error.pop_all()
    child = Child(process, end_signal, os.getpid(), guard)
    atexit.register(child.stop)
    return child


def _end(process: subprocess.Popen[bytes], with_signal: signal.Signals) -> None:
    process.send_signal(with_signal)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
