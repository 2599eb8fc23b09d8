"""A TCP relay in front of the console that counts requests, and can fall silent without closing a connection."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Relay:
    """``requests``: how many POST requests arrived. While ``silent`` is set, they are counted, not passed on or answered."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.silent = threading.Event()
        self.requests = 0
        self.over = threading.Event()
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Connection)
        self._server.relay = self

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def count(self, data: bytes) -> None:
        # The client sends the head of a request in one piece.
        with self._lock:
            self.requests += data.count(b"POST /")

    def run(self) -> None:
        self._server.serve_forever(0.02)

    def close(self) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def relay(target_port: int) -> Iterator[Relay]:
    made = Relay(target_port)
    thread = threading.Thread(target=made.run, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.close()
        thread.join()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128
    relay: Relay


class _Connection(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        relay = self.server.relay
        with socket.create_connection(("127.0.0.1", relay.target_port)) as console:
            for end in (self.request, console):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(target=self._answers, args=(console,), daemon=True)
            back.start()
            self._requests(console)
            back.join()

    def _requests(self, console: socket.socket) -> None:
        relay = self.server.relay
        while data := _received(self.request, relay):
            relay.count(data)
            if not relay.silent.is_set():
                with suppress(OSError):
                    console.sendall(data)
        with suppress(OSError):
            console.shutdown(socket.SHUT_RDWR)

    def _answers(self, console: socket.socket) -> None:
        relay = self.server.relay
        while data := _received(console, relay):
            if not relay.silent.is_set():
                with suppress(OSError):
                    self.request.sendall(data)
        with suppress(OSError):
            self.request.shutdown(socket.SHUT_RDWR)


def _received(source: socket.socket, relay: Relay) -> bytes:
    source.settimeout(0.2)
    while not relay.over.is_set():
        try:
            return source.recv(65_536)
        except TimeoutError:
            continue
        except OSError:
            break
    return b""
