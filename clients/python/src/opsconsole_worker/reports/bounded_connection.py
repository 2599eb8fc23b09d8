"""Connections of HTTP whose whole exchange ends by one time: the search for the address apart, whatever the other side does."""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from typing import Any


class _BoundedReader(io.RawIOBase):
    """What a socket receives until a time: each wait is as long as what is left."""

    def __init__(self, sock: socket.socket, ends_at: float) -> None:
        self._sock = sock
        self._ends_at = ends_at
        # It keeps the socket open while the answer is read, also after the connection was closed.
        self._raw = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(left_until(self._ends_at))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _BoundedAnswers:
    """A socket as ``http.client`` reads an answer from it."""

    def __init__(self, sock: socket.socket, ends_at: float) -> None:
        self._sock = sock
        self._ends_at = ends_at

    def makefile(self, *_: Any, **__: Any) -> io.BufferedReader:
        return io.BufferedReader(_BoundedReader(self._sock, self._ends_at))


class BoundedConnection(http.client.HTTPConnection):
    """A connection that connects, sends and receives until ``ends_at`` only, which is set before each request."""

    ends_at = 0.0

    def __init__(self, *place: Any, **options: Any) -> None:
        super().__init__(*place, **options)
        self._create_connection = self._open
        self.response_class = self._answer  # type: ignore[assignment]  # it is called as the class is

    def connect(self) -> None:
        """Connect; the handshake of TLS has what is left, too."""
        self.timeout = left_until(self.ends_at)
        super().connect()

    def send(self, data: Any) -> None:
        """Send all of it, or raise ``TimeoutError``."""
        if self.sock is not None:
            self.sock.settimeout(left_until(self.ends_at))
        super().send(data)

    def _open(self, address: tuple[str, int], *_: Any) -> socket.socket:
        """Connect to the first of the host's addresses that answers."""
        failure: OSError = OSError("the host has no address")
        for family, kind, protocol, _name, at in socket.getaddrinfo(*address, type=socket.SOCK_STREAM):
            sock = socket.socket(family, kind, protocol)
            try:
                sock.settimeout(left_until(self.ends_at))
                sock.connect(at)
                # The handshake of TLS follows, with the limit that the socket has by now.
                sock.settimeout(left_until(self.ends_at))
            except OSError as error:
                sock.close()
                failure = error
            else:
                return sock
        raise failure

    def _answer(self, sock: socket.socket, *given: Any, **named: Any) -> http.client.HTTPResponse:
        bounded: Any = _BoundedAnswers(sock, self.ends_at)
        return http.client.HTTPResponse(bounded, *given, **named)


class BoundedTlsConnection(BoundedConnection, http.client.HTTPSConnection):
    """The same over TLS."""

    def __init__(self, *place: Any, context: ssl.SSLContext, **options: Any) -> None:
        super().__init__(*place, context=context, **options)


def left_until(ends_at: float) -> float:
    """Return the seconds that are left. Raise ``TimeoutError`` if none are."""
    left = ends_at - time.monotonic()
    if left <= 0:
        raise TimeoutError("the answer did not end")
    return left
