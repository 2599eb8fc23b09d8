"""Threads that start at the same moment, each with its own database connection."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.db import connections

from opsconsole_worker.database import door

DEADLINE_SECONDS = 30.0


def race(actions: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run all of these at once; return their results in order, or raise an action's exception."""
    start = threading.Barrier(len(actions), timeout=DEADLINE_SECONDS)

    def run(action: Callable[[], Any]) -> Any:
        try:
            start.wait()
            return action()
        finally:
            connections.close_all()
            door.current().close()

    with ThreadPoolExecutor(len(actions)) as pool:
        running = [pool.submit(run, action) for action in actions]
        return [future.result(DEADLINE_SECONDS) for future in running]
