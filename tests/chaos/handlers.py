"""A job handler that takes a while and records its progress."""

from __future__ import annotations

import time

from jobs.worker import RunContext

STEP_SECONDS = 0.15


def work(run: RunContext) -> dict[str, int]:
    """Work for as many steps as the package size, note each, and return when told to stop."""
    for step in range(int(run.job.package_size or 0)):
        run.check()
        run.note(f"step {step}", reference=f"{run.job.id}/{step}")
        time.sleep(STEP_SECONDS)
    return {"steps": int(run.job.package_size or 0)}


def deaf(run: RunContext) -> dict[str, int]:
    """Work like ``work`` but ignore the stop signal, and report the result in any case."""
    for _ in range(int(run.job.package_size or 0)):
        time.sleep(STEP_SECONDS)
    return {"steps": int(run.job.package_size or 0)}
