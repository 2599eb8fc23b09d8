"""The demo's job handlers: one submits a business to directories, one buys listings in directories."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from opsconsole_worker.working.handlers import PermanentError, RunContext

SECONDS_EACH = 0.6
# Longer than reports of progress take, by which the next run goes on.
SECONDS_PER_PURCHASE = 2.0
LOSES_ITS_WORKER, PURCHASE_OF_THE_LOSS = "loses its worker", 3


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
        case "fails for good" if not run.job.payload.get("address"):
            raise PermanentError("the directory refuses this business: its address is missing")
        case "kills its worker":
            os.kill(os.getpid(), signal.SIGKILL)


def buy_listings(run: RunContext) -> dict[str, Any]:
    """Buy a listing in as many directories as the package holds, going on where an earlier run stopped.

    Each purchase costs money, and what a worker ordered just before it died is known to nobody: so no sweep starts this again.
    """
    listings = int(run.job.package_size or 0)
    bought = round(listings * (run.last_progress.percent or 0) / 100) if run.last_progress else 0
    for number in range(bought + 1, listings + 1):
        time.sleep(run.job.payload.get("seconds_each", SECONDS_PER_PURCHASE))
        run.check()
        if _loses_its_worker(run) and number == PURCHASE_OF_THE_LOSS:
            os.kill(os.getpid(), signal.SIGKILL)
        run.note(
            f"Bought listing {number} of {listings}",
            reference=f"receipt-{run.job.id.hex[:8]}-{run.job.epoch}-{number}",
        )
        run.progress(100 * number / listings, f"{number} of {listings} listings bought")
    return {"listings": listings}


def _loses_its_worker(run: RunContext) -> bool:
    return run.job.epoch == 1 and run.job.payload.get("trouble") == LOSES_ITS_WORKER
