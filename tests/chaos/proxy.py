"""A TCP proxy that can refuse connections, as during an outage of the network or of SQS."""

from __future__ import annotations

import socket
import socketserver
import threading
from contextlib import suppress
from typing import Self


class RefusingProxy:
    """Forwards to a port on loopback while ``open`` is set, and closes every connection otherwise."""

    def __init__(self, target_port: int) -> None:
        self.open = threading.Event()
        self.open.set()
        self.refused = 0
        self._server = _Server(("127.0.0.1", 0), _Connection)
        self._server.proxy = self
        self.target_port = target_port

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    proxy: RefusingProxy


class _Connection(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        proxy = self.server.proxy
        if not proxy.open.is_set():
            proxy.refused += 1
            return
        with socket.create_connection(("127.0.0.1", proxy.target_port)) as upstream:
            back = threading.Thread(target=_pump, args=(upstream, self.request, proxy), daemon=True)
            back.start()
            _pump(self.request, upstream, proxy)
            back.join()


def _pump(source: socket.socket, sink: socket.socket, proxy: RefusingProxy) -> None:
    source.settimeout(0.2)
    while proxy.open.is_set():
        try:
            data = source.recv(65_536)
            sink.sendall(data)
        except TimeoutError:
            continue
        except OSError:
            # The client or the server was killed.
            break
        if not data:
            break
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
