"""A thread in each serving process that reads edited policies and writes the records.

The first rate-limited request starts it, which is after the server has forked its workers. Each copy of a process
starts its own. When the process ends, it writes what is left.
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
from ratelimits.policies import policy_cache
from ratelimits.records import recording, troubles

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 0.9
FLUSH_SECONDS = 5.0
STOP_SECONDS = 2.0


class LimiterThread:
    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._flush_at = time.monotonic() + FLUSH_SECONDS
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="rate-limiter", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.wait(INTERVAL_SECONDS):
            self.run_once()
        connection.close()

    def run_once(self) -> None:
        """Check for edited policies. Every few seconds, write the records."""
        connection.close_if_unusable_or_obsolete()
        policy_cache.refresh_while_in_use()
        # Try an unavailable store here too, so that requests need not wait for it.
        store.keep_store_informed()
        if time.monotonic() >= self._flush_at:
            self._flush_at = time.monotonic() + FLUSH_SECONDS
            self._flush()

    def _flush(self) -> None:
        try:
            recording.flush()
            api_keys.write_last_used()
            troubles.report()
        except (DatabaseError, InterfaceError) as error:
            if not self._failing:
                log.warning("Rate limit records could not be written. They wait in memory: %s", error)
            self._failing = True
            connection.close()
        else:
            self._failing = False

    def stop(self) -> None:
        """Stop the thread. Write what is left, unless the database is known to be unavailable."""
        self._stopping.set()
        self._thread.join(STOP_SECONDS)
        if not self._failing:
            self._flush()
            connection.close()


_running: LimiterThread | None = None
_starting = threading.Lock()


def ensure_running() -> None:
    """Start the thread of this process unless it runs already."""
    global _running  # noqa: PLW0603 - one per process
    if _running is not None:
        return
    with _starting:
        if _running is None:
            _running = LimiterThread()


def stop() -> None:
    """Stop the thread if it runs. The next request starts another one."""
    global _running
    thread, _running = _running, None
    if thread:
        thread.stop()


def _after_fork() -> None:
    # The thread stays in the parent, and so may a lock that it held.
    global _running, _starting
    _running, _starting = None, threading.Lock()


atexit.register(stop)
os.register_at_fork(after_in_child=_after_fork)
