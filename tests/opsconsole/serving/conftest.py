"""The server in the test's own process, so that a test may shorten its patience."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from waitress import wasyncore

from opsconsole.serving import servers
from opsconsole.serving.request_threads import Threads
from opsconsole.serving.requests import Request
from tests.opsconsole.serving.application import application, released

THREADS, MOST = 2, 8


@dataclass(frozen=True)
class Served:
    """A server on loopback."""

    port: int
    server: Any

    def connect(self) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        client.settimeout(10)
        return client

    def ask(self, *sent: bytes) -> bytes:
        """Send this on a new connection, and return all that is received until the server closes it."""
        with self.connect() as client:
            for piece in sent:
                client.sendall(piece)
            return rest_of(client)


def rest_of(client: socket.socket) -> bytes:
    received = b""
    while piece := client.recv(65_536):
        received += piece
    return received


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """Serve the small application with two threads, and at most eight connections."""
    monkeypatch.setattr(Request, "longest_line", 8_190, raising=False)
    monkeypatch.setattr(Request, "most_fields", 100, raising=False)
    released.clear()
    connections: dict[int, Any] = {}
    threads = Threads(THREADS)
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = servers.serve(application, listener, connections, threads, backlog=64, connection_limit=MOST)

        def run() -> None:
            while not stop.is_set():
                wasyncore.poll2(0.05, connections)
                server.resume()
                server.make_room()
                server.close_overdue()

        loop = threading.Thread(target=run)
        loop.start()
        yield Served(listener.getsockname()[1], server)
        released.set()
        stop.set()
        loop.join()
        wasyncore.close_all(connections)
        threads.shutdown(timeout=2)
