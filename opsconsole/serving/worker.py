"""gunicorn's worker process: an event loop reads requests and sends responses, and threads run the application.

The loop is waitress's. A slow client costs a connection there, so that any number of them leaves the threads free.
"""

from __future__ import annotations

import os
import time
from types import FrameType
from typing import Any

from gunicorn.workers.base import Worker as ProcessOfGunicorn
from waitress import wasyncore

from opsconsole.serving import servers
from opsconsole.serving.request_threads import Threads
from opsconsole.serving.requests import Request

# How long the loop waits for something to do. gunicorn hears from the process, and slow clients are looked for, as often.
TURN_SECONDS = 1.0
# The same while nobody is connected, so that nobody can be slow. A new connection ends the wait.
IDLE_TURN_SECONDS = 5.0
# A stopping process still answers on kept connections for this long, because a client may be sending a request already.
LAST_REQUESTS_SECONDS = 2.0


class Worker(ProcessOfGunicorn):  # type: ignore[misc]  # gunicorn has no types
    """A process that gunicorn starts and ends."""

    def run(self) -> None:
        Request.longest_line = self.cfg.limit_request_line
        Request.most_fields = self.cfg.limit_request_fields
        self.connections: dict[int, Any] = {}
        self.threads = Threads(self.cfg.threads)
        self.servers = [self._serve(listener.sock) for listener in self.sockets]
        self.looked_at = 0.0
        while self.alive and os.getppid() == self.ppid:
            self._turn()
        self._stop()

    def _serve(self, listener: Any) -> Any:
        server = servers.serve(
            self.wsgi,
            listener,
            self.connections,
            self.threads,
            backlog=self.cfg.backlog,
            connection_limit=self.cfg.worker_connections,
        )
        server.is_one_of_several = self.cfg.workers > 1
        return server

    def _turn(self) -> None:
        self.notify()
        wasyncore.poll2(self._patience(), self.connections)
        is_due = time.monotonic() >= self.looked_at + TURN_SECONDS
        for server in self.servers:
            server.resume()
            server.make_room()
            if is_due:
                server.close_overdue()
        if is_due:
            self.looked_at = time.monotonic()

    def _patience(self) -> float:
        if any(server.active_channels for server in self.servers):
            return TURN_SECONDS
        # gunicorn ends a process from which it does not hear for its ``timeout``.
        return min(IDLE_TURN_SECONDS, self.cfg.timeout / 3 or IDLE_TURN_SECONDS)

    def _stop(self) -> None:
        """Finish the requests that were begun, and those that clients may be sending on kept connections just now."""
        began = time.monotonic()
        for server in self.servers:
            server.stop_accepting()
        while (waited := time.monotonic() - began) < self.cfg.graceful_timeout and (
            any(server.is_busy for server in self.servers)
            or (waited < LAST_REQUESTS_SECONDS and any(server.active_channels for server in self.servers))
        ):
            self._turn()
        self.servers = []
        wasyncore.close_all(self.connections)
        self.threads.shutdown(timeout=1)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        # Ends the wait for something to do.
        for server in getattr(self, "servers", ()):
            server.pull_trigger()
