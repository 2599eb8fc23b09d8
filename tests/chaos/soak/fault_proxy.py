"""A proxy between a host and a service on this machine, which can cut, refuse and silence connections."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self

PIECE = 65_536


class FaultProxy:
    """Forwards from a port on loopback to the socket that ``connect`` opens.

    While it is silent, nothing passes in either direction and no connection is closed, as on a network that loses
    every packet. What was sent meanwhile arrives afterwards, as TCP repeats it.
    """

    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        self.connect = connect
        self._flowing = threading.Event()
        self._flowing.set()
        self._refusing = False
        self._ends: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Connection)
        self._server.proxy = self

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def cut(self) -> None:
        """Close all connections; new ones are accepted."""
        with self._lock:
            ends = list(self._ends)
        for end in ends:
            _close(end)

    def refuse(self, *, on: bool) -> None:
        self._refusing = on
        if on:
            self.cut()

    def silence(self, *, on: bool) -> None:
        if on:
            self._flowing.clear()
        else:
            self._flowing.set()

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._flowing.set()
        self._server.shutdown()
        self.cut()
        self._server.server_close()

    def serve(self, client: socket.socket) -> None:
        if self._refusing:
            return
        try:
            upstream = self.connect()
        except OSError:
            # The service is down: the client sees its connection closed.
            return
        with self._lock:
            self._ends |= {client, upstream}
        try:
            back = threading.Thread(target=self._pump, args=(upstream, client), daemon=True)
            back.start()
            self._pump(client, upstream)
            back.join()
        finally:
            with self._lock:
                self._ends -= {client, upstream}
            upstream.close()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(PIECE):
                self._flowing.wait()
                sink.sendall(data)
        self._flowing.wait()
        for end in (source, sink):
            _close(end)


def _close(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    # Many workers connect at the same moment after an outage.
    request_queue_size = 128
    proxy: FaultProxy


class _Connection(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        self.server.proxy.serve(self.request)
