"""The job handler of the soak: it takes a while, fails now and then, and some jobs fail for good."""

from __future__ import annotations

import time

from jobs.worker import PermanentError, RunContext

STEP_SECONDS = 0.15
# One of so many jobs fails at its first attempt, and one at all.
FAILS_ONCE, FAILS_FOR_GOOD = 20, 50


def work(run: RunContext) -> dict[str, int]:
    number = int(str(run.job.id)[:8], 16)
    if number % FAILS_FOR_GOOD == 0:
        raise PermanentError("the directory refuses this customer")
    for step in range(int(run.job.package_size or 0)):
        run.check()
        run.note(f"directory {step}")
        time.sleep(STEP_SECONDS)
    if number % FAILS_ONCE == 1 and run.job.attempts == 0:
        raise ConnectionError("the directory did not answer")
    return {"directories": int(run.job.package_size or 0)}
