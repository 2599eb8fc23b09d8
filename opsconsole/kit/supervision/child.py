"""A child process that ends with its owner, the process that started it, even when the owner is killed with kill -9.

On Linux the kernel sends the signal. On other systems, and outside the main thread, a small watcher waits for the end
of a pipe whose other end only the owner holds.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from pwd import struct_passwd
from typing import Any

STOP_SECONDS = 10.0
PR_SET_PDEATHSIG = 1
_prctl: Any = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


@dataclass(frozen=True)
class Child:
    process: subprocess.Popen[bytes]
    end_signal: signal.Signals
    owner: int
    watcher: subprocess.Popen[bytes] | None

    def stop(self) -> None:
        """End the child and wait until it has ended. In a fork of the owner, which inherits this object, do nothing."""
        if self.owner != os.getpid():
            return
        if self.watcher:
            # The watcher ends first. Otherwise it could later signal another process that has been given this pid.
            _end(self.watcher, signal.SIGKILL)
        _end(self.process, self.end_signal)
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
    owner = os.getpid()
    # The kernel sends the signal when the *thread* that started the child ends.
    kernel_signals = _prctl is not None and threading.current_thread() is threading.main_thread()

    def end_with_owner() -> None:
        _prctl(PR_SET_PDEATHSIG, int(end_signal))
        if os.getppid() != owner:
            os._exit(1)

    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
            # Ctrl-C in the terminal is for the owner, which then ends the child.
            start_new_session=True,
            pass_fds=descriptors,
            # Two system calls and no lock are safe after a fork. It runs after the change of account, which would
            # undo its effect.
            preexec_fn=end_with_owner if kernel_signals else None,  # noqa: PLW1509
        )
    child = Child(process, end_signal, owner, None if kernel_signals else _watch(process.pid, end_signal))
    atexit.register(child.stop)
    return child


def _watch(pid: int, end_signal: signal.Signals) -> subprocess.Popen[bytes]:
    reader, _never_closed = os.pipe()
    script = f"read -r _; kill -{int(end_signal)} {pid}"
    try:
        return subprocess.Popen(["/bin/sh", "-c", script], stdin=reader, start_new_session=True)
    finally:
        os.close(reader)


def _end(process: subprocess.Popen[bytes], with_signal: signal.Signals) -> None:
    process.send_signal(with_signal)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
