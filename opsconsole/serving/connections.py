"""Connections whose clients may be slow: they cost a socket, never a thread, and only for as long as they make progress."""

from __future__ import annotations

import socket
import time
from enum import IntEnum
from typing import Any

from waitress.channel import HTTPChannel
from waitress.task import ErrorTask, WSGITask

from opsconsole import access_log, script_name
from opsconsole.serving.requests import Overloaded, Request

# A client that sends a request, or reads a response, at less than LOWEST_RATE bytes a second for this long is cut off.
PATIENCE_SECONDS = 20.0
LOWEST_RATE = 500
# A kept connection without a request. Longer than proxies keep theirs (nginx: 60 s), so that the proxy closes it first.
IDLE_SECONDS = 75.0
# After the last response, so that a client that is still sending can read it before the connection is reset.
PARTING_SECONDS = 5.0
# A request that waited for a thread for longer than this is not run: its client has probably given up, and would ask again.
LONGEST_WAIT_SECONDS = 20.0


class Phase(IntEnum):
    """What a connection waits for; in the order in which connections make room for new ones."""

    IDLE = 0
    PARTING = 1
    RECEIVING = 2
    SENDING = 3
    ANSWERING = 4


class Response(WSGITask):  # type: ignore[misc]  # waitress has no types
    """One request's run through the application, in a thread."""

    closing_was_announced = False

    def get_environment(self) -> dict[str, Any]:
        if self.environ is None:
            environ = super().get_environment()
            server = self.channel.server
            # The path as it was sent: a proxy's rules for /admin/ must also hold for //admin/.
            environ["SCRIPT_NAME"], environ["PATH_INFO"] = script_name.mounted(self.request.path)
            environ["wsgi.multiprocess"] = server.is_one_of_several
            if server.family == socket.AF_UNIX:
                environ["REMOTE_ADDR"] = environ["REMOTE_HOST"] = ""
        return self.environ  # type: ignore[no-any-return]  # waitress has no types

    def execute(self) -> None:
        super().execute()
        if self.request.command == "HEAD":
            # waitress closes the connection, because the body is shorter than its length.
            self.close_on_finish = self.closing_was_announced

    def build_response_header(self) -> bytes:
        if self.channel.server.is_stopping:
            self.request.headers["CONNECTION"] = "close"
        header: bytes = super().build_response_header()
        self.closing_was_announced = self.close_on_finish
        if self.request.command == "HEAD":
            self.chunked_response = False
        return header

    def write(self, data: bytes) -> None:
        super().write(b"" if self.request.command == "HEAD" else data)


class Refusal(ErrorTask):  # type: ignore[misc]  # waitress has no types
    """The answer to a request that the application never sees, because the server refuses it."""

    def execute(self) -> None:
        super().execute()
        method, status = getattr(self.request, "command", "-"), self.request.error.code
        seconds = time.monotonic() - self.channel.waits_since
        access_log.count(method, access_log.UNKNOWN_ROUTE, status, seconds)
        access_log.write(
            method,
            self.request.path or "-",
            status,
            seconds,
            client=self.channel.addr[0] if self.channel.server.family != socket.AF_UNIX else None,
            why=self.request.error.reason,
        )


class Connection(HTTPChannel):  # type: ignore[misc]  # waitress has no types
    """A client's connection. ``since``: when its phase began, or when the client was last found fast enough."""

    parser_class = Request
    close_when_flushed: bool
    task_class = Response
    error_task_class = Refusal

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.phase, self.since, self.moved = Phase.RECEIVING, time.monotonic(), 0
        self.is_parting = False
        self.waits_since = self.since
        super().__init__(*args, **kwargs)

    def is_overdue(self, now: float) -> bool:
        """Tell whether the client has let the console wait for too long. This is asked about once per second."""
        phase = self.current_phase
        if phase != self.phase:
            self.phase, self.since, self.moved = phase, now, 0
        waited = now - self.since
        if phase == Phase.IDLE:
            return waited > IDLE_SECONDS
        if phase == Phase.PARTING:
            return waited > PARTING_SECONDS
        if phase == Phase.ANSWERING or waited < PATIENCE_SECONDS:
            return False
        is_slow = self.moved < waited * LOWEST_RATE
        self.since, self.moved = now, 0
        return is_slow

    @property
    def current_phase(self) -> Phase:
        if self.is_parting:
            return Phase.PARTING
        if self.total_outbufs_len:
            return Phase.SENDING
        if self.requests:
            return Phase.ANSWERING
        # A new connection is expected to send a request.
        began = self.request is not None or self.last_activity == self.creation_time
        return Phase.RECEIVING if began else Phase.IDLE

    def service(self) -> None:
        """Answer the next request, in a thread."""
        if time.monotonic() - self.waits_since > LONGEST_WAIT_SECONDS:
            self.requests[0].error = Overloaded(
                "The console is busy. Nothing was done. Try again in a minute."
            )
        super().service()

    def handle_read(self) -> None:
        if not self.is_parting:
            super().handle_read()
            return
        try:
            self.recv(self.adj.recv_bytes)
        except OSError:
            self.handle_close()

    def received(self, data: bytes) -> bool:
        self.moved += len(data)
        return bool(super().received(data))

    def send(self, data: bytes, do_close: bool = True) -> int:  # noqa: FBT001, FBT002 - overrides this name
        sent = int(super().send(data, do_close=do_close) or 0)
        self.moved += sent
        return sent

    def readable(self) -> bool:
        return not self.will_close if self.is_parting else bool(super().readable())

    def writable(self) -> bool:
        return self.will_close if self.is_parting else bool(super().writable())

    def handle_write(self) -> None:
        is_last = self.close_when_flushed and not self.will_close
        if not is_last:
            super().handle_write()
            return
        # waitress would close the socket at once: bytes that were not read would reset it, and the client would lose
        # the response.
        self.close_when_flushed = False
        super().handle_write()
        if not self.connected:
            return
        if self.total_outbufs_len:
            self.close_when_flushed = True
        else:
            self._part()

    def _part(self) -> None:
        self.is_parting = True
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.handle_close()
