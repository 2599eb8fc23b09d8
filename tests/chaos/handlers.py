"""A job handler that takes a while and records its progress."""

from __future__ import annotations

import time

from jobs.worker import RunContext

STEP_SECONDS = 0.15


def work(run: RunContext) -> dict[str, int]:
    """As many steps as the package is large, each noted; leaves when it hears that it no longer counts."""
    for step in range(int(run.job.package_size)):
        run.check()
        run.note(f"step {step}", reference=f"{run.job.id}/{step}")
        time.sleep(STEP_SECONDS)
    return {"steps": int(run.job.package_size)}


def deaf(run: RunContext) -> dict[str, int]:
    """The same without listening: it reports its result whatever happened meanwhile."""
    for _ in range(int(run.job.package_size)):
        time.sleep(STEP_SECONDS)
    return {"steps": int(run.job.package_size)}
