"""The processor time that a piece of work takes, in this process and in the server process of its connection.

Unlike the time on the clock, it does not count waiting for a processor that others use. On a busy machine it is still higher
than on a quiet one, because caches and cores are shared: compare it within one run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
from django.db import connection

from bench import process_clock


@dataclass
class Spent:
    """Milliseconds in all, over this many turns. ``server`` is None where the system does not tell."""

    own: float = 0.0
    server: float | None = 0.0
    turns: int = 0

    @property
    def own_per_turn(self) -> float:
        return self.own / max(self.turns, 1)

    @property
    def server_per_turn(self) -> float | None:
        return None if self.server is None else self.server / max(self.turns, 1)


@contextmanager
def counted(spent: Spent) -> Iterator[None]:
    """Add what the work takes to ``spent``."""
    before, began = _of_server(), time.process_time()
    yield
    spent.own += (time.process_time() - began) * 1000
    after = _of_server()
    spent.server = None if None in {before, after, spent.server} else spent.server + after - before  # type: ignore[operator]  # none is None
    spent.turns += 1


def load() -> str:
    """Return how busy the machine is, for the head of a table."""
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


def _of_server() -> float | None:
    """Return the milliseconds that the server process of Django's connection has taken so far."""
    connection.ensure_connection()
    pid = connection.connection.info.backend_pid
    return process_clock.seconds(pid) * 1000 if psutil.pid_exists(pid) else None
