"""The threads of a process that run the application, and one more that only answers the liveness probe.

Not named ``threads``: gunicorn reads that name of the package as its setting.
"""

from __future__ import annotations

import time

from waitress.task import ThreadedTaskDispatcher

from opsconsole.serving.connections import Connection

# It needs neither the database nor a session, so that each answer takes a millisecond.
PROBE = "/healthz"


class Threads:
    """Lets each request wait for a thread, and the probe for no other request."""

    def __init__(self, count: int) -> None:
        self._of_requests, self._of_probes = ThreadedTaskDispatcher(), ThreadedTaskDispatcher()
        self._of_requests.set_thread_count(count)
        self._of_probes.set_thread_count(1)

    def add_task(self, connection: Connection) -> None:
        """Answer the next request of this connection, once a thread is free."""
        connection.waits_since = time.monotonic()
        is_probe = [each.path for each in connection.requests[:1]] == [PROBE]
        (self._of_probes if is_probe else self._of_requests).add_task(connection)

    def shutdown(self, timeout: float) -> None:
        for threads in (self._of_probes, self._of_requests):
            threads.shutdown(timeout=timeout)
