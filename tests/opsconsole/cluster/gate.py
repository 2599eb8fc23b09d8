"""Tasks for a real cluster that report their start, and end when allowed to."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from django.db import connection

from tests.waiting import wait_until


def wait_for_gate(folder: str) -> None:
    began = Path(folder, "began.new")
    began.write_text(str(os.getpid()))
    began.rename(Path(folder, "began"))
    wait_until(Path(folder, "gate").exists, 60)
    Path(folder, "ended").touch()


def ignore_the_limit(folder: str) -> None:
    """Wait, and take no notice of the signal that ends a task at its time limit."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    wait_for_gate(folder)


def tell_limit(folder: str) -> None:
    """Write down after how many seconds the signal of the time limit would come, and wait."""
    Path(folder, "limit").write_text(str(signal.getitimer(signal.ITIMER_REAL)[0]))
    wait_for_gate(folder)


def tell_session(folder: str) -> None:
    """Write down by which session this process asks the database, and wait."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        Path(folder, "session").write_text(str(cursor.fetchone()[0]))
    wait_for_gate(folder)
