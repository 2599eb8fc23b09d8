"""The demo's job handler: submits a business to directories, one after the other."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from opsconsole_worker.working.handlers import PermanentError, RunContext

SECONDS_EACH = 0.6


def submit_directories(run: RunContext) -> dict[str, Any]:
    """Submit to as many directories as the package holds; ``payload["trouble"]`` says what goes wrong."""
    directories = int(run.job.package_size or 0)
    for number in range(1, directories + 1):
        time.sleep(run.job.payload.get("seconds_each", SECONDS_EACH))
        run.check()
        run.note(
            f"Submitted to directory {number} of {directories}",
            reference=f"listing-{run.job.id.hex[:8]}-{run.job.epoch}-{number}",
        )
        run.progress(100 * number / directories, f"{number} of {directories} directories")
        _trouble(run)
    return {"directories": directories}


def _trouble(run: RunContext) -> None:
    match run.job.payload.get("trouble"):
        case "fails once" if run.job.attempts == 0:
            raise ConnectionError("the directory did not answer")
        case "fails always":
            raise ConnectionError("the directory has not answered for days")
        case "fails until it is replayed" if run.job.epoch == 1:
            raise PermanentError("the directory is closed today")
        case "fails for good":
            raise PermanentError("the directory refuses this business: its address is missing")
        case "kills its worker":
            os.kill(os.getpid(), signal.SIGKILL)
