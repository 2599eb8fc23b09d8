"""A proxy to PostgreSQL that cuts the connection, or lets the client vanish, at a chosen moment."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from typing import Self

from django.db import connections

from opsconsole_worker.reports.to_console import ConsoleReports


class CuttingProxy:
    """Forwards from a port on loopback to PostgreSQL's socket, and cuts the connection at a chosen request.

    ``cut(marks)`` breaks one connection: the one whose requests contain these marks in this order. With
    ``answer``, the server still executes the last of these requests and only its response is lost; without it,
    the request itself is lost. With ``away``, nobody answers new connections either, until ``come_back()``, as when a
    server is stopped. ``vanish(marks)`` is what the server sees of a host that loses its power: the last of
    these requests still arrives, then nothing more is heard, and nobody closes the connection.
    """

    # What stands in the request that claims a run, and in no other.
    claim: Sequence[bytes] = (b"'claimed'",)

    def __init__(self, socket_path: str) -> None:
        self.socket_path = socket_path
        self.cuts = 0
        self.over = threading.Event()
        self.away = threading.Event()
        self._wanted: tuple[Sequence[bytes], bool, bool] | None = None
        self._stays_away = False
        self._server = _Server(("127.0.0.1", 0), _Connection)
        self._server.proxy = self

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def cut(self, marks: Sequence[bytes], *, answer: bool, away: bool = False) -> None:
        self._wanted = (marks, answer, False)
        self._stays_away = away

    def come_back(self) -> None:
        self.away.clear()

    def forget(self) -> None:
        """Cut nothing more, be there, and close the connections of hosts that vanished: the next test begins."""
        self._wanted = None
        self.come_back()
        self.over.set()
        self.over = threading.Event()

    def vanish(self, marks: Sequence[bytes]) -> None:
        self._wanted = (marks, False, True)

    def connected(self) -> socket.socket:
        """Return a connection to what is behind the proxy."""
        upstream = socket.socket(socket.AF_UNIX)
        upstream.connect(self.socket_path)
        return upstream

    @contextmanager
    def as_default(self) -> Iterator[None]:
        """Route Django's default connection of this thread through this proxy for a while."""
        usual = connections["default"]
        here = usual.copy()
        address = {"HOST": "127.0.0.1", "PORT": self.port}
        here.settings_dict = usual.settings_dict | address
        connections["default"] = here
        try:
            yield
        finally:
            here.close()
            connections["default"] = usual

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()

    def watch(self) -> _Watch | None:
        return _Watch(*self._wanted) if self._wanted else None

    def done(self) -> None:
        self._wanted = None
        self.cuts += 1
        if self._stays_away:
            self.away.set()


class ConsoleProxy(CuttingProxy):
    """The same between a worker over the HTTP API and its console."""

    claim = (b'"asked_before"',)

    def __init__(self, reports: ConsoleReports) -> None:
        super().__init__("")
        self._reports = reports
        self._usual = reports._console

    def connected(self) -> socket.socket:
        return socket.create_connection(self._usual.place)

    @contextmanager
    def as_default(self) -> Iterator[None]:
        """Route the worker's requests through this proxy for a while."""
        here = copy(self._usual)
        here.place = ("127.0.0.1", self.port)
        here._of_thread = threading.local()
        self._reports._console = here
        try:
            yield
        finally:
            here.close()
            self._reports._console = self._usual


class _Watch:
    """Follows the requests of one connection until the last mark appears."""

    def __init__(self, marks: Sequence[bytes], answer: bool, vanishing: bool) -> None:
        self.left = list(marks)
        self.answer = answer
        self.vanishing = vanishing

    def reached(self, data: bytes) -> bool:
        while self.left and (place := data.find(self.left[0])) >= 0:
            data = data[place + len(self.left.pop(0)) :]
        return not self.left


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    proxy: CuttingProxy


class _Connection(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        if self.server.proxy.away.is_set():
            return
        with self.server.proxy.connected() as upstream:
            self.mute = threading.Event()
            self.heard = threading.Event()
            back = threading.Thread(target=self._answers, args=(upstream,), daemon=True)
            back.start()
            self._requests(upstream)
            for end in (upstream, self.request):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            back.join()

    def _requests(self, upstream: socket.socket) -> None:
        proxy = self.server.proxy
        watch = None
        while data := _read(self.request):
            watch = watch or proxy.watch()
            if watch and watch.reached(data):
                proxy.done()
                self.mute.set()
                if watch.vanishing:
                    upstream.sendall(data)
                    proxy.over.wait()
                if watch.answer:
                    upstream.sendall(data)
                    self.heard.wait(10)
                return
            with suppress(OSError):
                upstream.sendall(data)

    def _answers(self, upstream: socket.socket) -> None:
        while data := _read(upstream):
            if self.mute.is_set():
                self.heard.set()
                return
            with suppress(OSError):
                self.request.sendall(data)


def to_database() -> CuttingProxy:
    """Return a proxy to the server of the tests' database."""
    described = connections["default"].settings_dict
    return CuttingProxy(f"{described['HOST']}/.s.PGSQL.{described['PORT'] or 5432}")


def _read(source: socket.socket) -> bytes:
    try:
        return source.recv(65_536)
    except OSError:
        return b""
