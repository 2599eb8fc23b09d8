"""Programs that run beside a test and end with it, also when the test's own process is killed."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from opsconsole.kit.supervision.owned import Guard

PATIENCE_SECONDS = 30.0


@contextmanager
def program(
    command: Sequence[str | Path], *, end_signal: signal.Signals = signal.SIGKILL, **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program, and send it ``end_signal`` unless it ended by itself. ``options`` are passed to ``Popen``."""
    guard = Guard()
    try:
        process = guard.start([str(word) for word in command], **options)
        try:
            yield process
        finally:
            process.send_signal(end_signal)
            process.wait(PATIENCE_SECONDS)
            guard.forget(process)
    finally:
        guard.close()
