"""A thread in each process that serves: it notices edited policies and writes the records.

It starts with the first limited request, so after the server forked its workers, and is started anew in each copy
of a process. At the end of the process it writes what is left.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time

from django.db import DatabaseError, InterfaceError, connection

from ratelimits.engine import store
from ratelimits.keys import api_keys
from ratelimits.policies import in_force
from ratelimits.records import recording, troubles

log = logging.getLogger(__name__)

TURN_SECONDS = 0.9
FLUSH_SECONDS = 5.0
END_SECONDS = 2.0


class Keeper:
    def __init__(self) -> None:
        self._end = threading.Event()
        self._flush_at = time.monotonic() + FLUSH_SECONDS
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="rate-limit-keeper", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._end.wait(TURN_SECONDS):
            self.turn()
        connection.close()

    def turn(self) -> None:
        """Look for edits; every few seconds, write."""
        connection.close_if_unusable_or_obsolete()
        in_force.refresh()
        # Requests need not wait for a store that is away: it is tried here too.
        store.probe()
        if time.monotonic() >= self._flush_at:
            self._flush_at = time.monotonic() + FLUSH_SECONDS
            self._flush()

    def _flush(self) -> None:
        try:
            recording.flush()
            api_keys.write_uses()
            troubles.report()
        except (DatabaseError, InterfaceError) as error:
            if not self._failing:
                log.warning("Records of rate limiting can't be written, they wait in memory: %s", error)
            self._failing = True
            connection.close()
        else:
            self._failing = False

    def end(self) -> None:
        """Stop, and write what is left unless the database is known to be away."""
        self._end.set()
        self._thread.join(END_SECONDS)
        if not self._failing:
            self._flush()
            connection.close()


_keeper: Keeper | None = None
_starting = threading.Lock()


def ensure() -> None:
    """Have this process's keeper running."""
    global _keeper  # noqa: PLW0603 - one a process
    if _keeper is not None:
        return
    with _starting:
        if _keeper is None:
            _keeper = Keeper()


def end() -> None:
    """Stop it, if it runs; the next request starts another."""
    global _keeper
    keeper, _keeper = _keeper, None
    if keeper:
        keeper.end()


def _after_fork() -> None:
    # The thread stayed in the parent, and perhaps the lock.
    global _keeper, _starting
    _keeper, _starting = None, threading.Lock()


atexit.register(end)
os.register_at_fork(after_in_child=_after_fork)
