"""Job handlers that take a while: one records what it does, the other is frozen in its first run."""

from __future__ import annotations

import os
import signal
import time
from functools import cache

from jobs.worker import RunContext

STEP_SECONDS = 0.15


def work(run: RunContext) -> dict[str, int]:
    """Work for as many steps as the package size, note each, and return when told to stop."""
    for step in range(int(run.job.package_size or 0)):
        run.check()
        run.note(f"step {step}", reference=f"{run.job.id}/{step}")
        time.sleep(STEP_SECONDS)
    return {"steps": int(run.job.package_size or 0)}


@cache
def freeze_once() -> None:
    """Freeze this process until somebody lets it go on; do nothing when that was done before."""
    os.kill(os.getpid(), signal.SIGSTOP)


def deaf(run: RunContext) -> dict[str, int]:
    """Work like ``work`` but ignore the stop signal, and report the result in any case.

    The first run freezes its process: it has surely begun, and surely not ended.
    """
    freeze_once()
    for _ in range(int(run.job.package_size or 0)):
        time.sleep(STEP_SECONDS)
    return {"steps": int(run.job.package_size or 0)}
