"""``/metrics`` and the probes of a host or pod without web, where OPSCONSOLE_METRICS_LISTEN is set: a program of ``run_cluster``, or
a thread of a loop or worker that runs alone.

It answers few callers, one Prometheus and the probes of an orchestrator, so a thread per request is enough, and a few of them.
"""

from __future__ import annotations

import io
import logging
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from django.conf import settings
from django.db import connections
from django.http import HttpRequest, HttpResponse

from opsconsole import metrics_page
from opsconsole.kit.alive import SignOfLife
from opsconsole.kit.supervision.supervisor import Program

logger = logging.getLogger(__name__)

MOST_AT_ONCE = 4
# For the whole head of a request, and for each part of the answer.
CLIENT_SECONDS = 5.0
# For a place, where others have all of them.
PATIENCE_SECONDS = 1.0
# As long as the probes of the recipes wait for a sign of the supervisor.
SILENT_SECONDS = 180.0
END_SECONDS = 5.0
# Until a loop asks again for a port that another process has.
RETRY_SECONDS = 15.0
PLAIN = "text/plain; charset=utf-8"


def programs() -> list[Program]:
    """Return the program that answers, where an address for it is set."""
    if not settings.OPSCONSOLE_METRICS_LISTEN:
        return []
    return [Program("metrics", ["opsconsole", "metrics"], grace=END_SECONDS, run=serve)]


def serve() -> None:
    """Answer until the supervisor ends this process."""
    address = settings.OPSCONSOLE_METRICS_LISTEN
    if address is None:
        return
    with Server(address) as server:
        logger.info("/metrics and /healthz are served at %s port %d.", *address)
        server.serve_forever()


@contextmanager
def beside_a_loop() -> Iterator[None]:
    """Answer in a thread, where an address is set. One process of a host has the port, and tells what all of them counted."""
    address = settings.OPSCONSOLE_METRICS_LISTEN
    if not address:
        yield
        return
    stopped = threading.Event()
    thread = threading.Thread(target=_serve_until, args=(stopped, address), name="metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join(END_SECONDS)


def _serve_until(stopped: threading.Event, address: tuple[str, int]) -> None:
    """Serve until stopped. A loop does its work without the port, too: it is asked for until it is free."""
    warned = False
    while not stopped.is_set():
        try:
            server = Server(address)
        except OSError as error:
            if not warned:
                logger.warning(
                    "/metrics can't be served at %s port %d, trying again; another process of this host may do so: %s",
                    *address,
                    error,
                )
            warned = True
            stopped.wait(RETRY_SECONDS)
            continue
        with server:
            logger.info("/metrics and /healthz are served at %s port %d.", *address)
            threading.Thread(target=_end_when, args=(stopped, server), daemon=True).start()
            server.serve_forever()


def _end_when(stopped: threading.Event, server: Server) -> None:
    stopped.wait()
    server.shutdown()


class Server(ThreadingHTTPServer):
    """Refuses what is more than a few requests at once."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int]) -> None:
        self._free = threading.BoundedSemaphore(MOST_AT_ONCE)
        # A database that hangs keeps scrapes waiting, and no probe.
        self.scrapes = threading.BoundedSemaphore(MOST_AT_ONCE - 1)
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Request)

    def server_bind(self) -> None:
        # HTTPServer would ask for the name of the host, which can take long and is needed for nothing.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        # The place of a caller that has its answer is free a moment later.
        if self._free.acquire(timeout=PATIENCE_SECONDS):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Tell of it in a line: mostly a client that went away."""
        logger.warning("A request of a scrape or probe could not be answered: %s", sys.exc_info()[1])


class _Head(io.RawIOBase):
    """What a client sends until the time ends, however it divides it."""

    def __init__(self, client: socket.socket, seconds: float) -> None:
        self._client = client
        self._ends_at = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._ends_at - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request did not end")
        self._client.settimeout(left)
        return self._client.recv_into(buffer)


class _Request(BaseHTTPRequestHandler):
    timeout: ClassVar[float] = CLIENT_SECONDS
    server_version, sys_version = "opsconsole", ""
    server: Server

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(_Head(self.connection, self.timeout))

    def do_GET(self) -> None:
        try:
            self._answer(with_body=True)
        finally:
            connections.close_all()

    def do_HEAD(self) -> None:
        try:
            self._answer(with_body=False)
        finally:
            connections.close_all()

    def _answer(self, *, with_body: bool) -> None:
        asked = HttpRequest()
        asked.method, asked.path_info = self.command, self.path.partition("?")[0]
        asked.META = {"HTTP_AUTHORIZATION": self.headers.get("Authorization", "")}
        response = self._response(asked)
        self.connection.settimeout(self.timeout)
        self.send_response(response.status_code)
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(response.content)))
        self.send_header("Connection", "close")
        self.end_headers()
        if with_body:
            self.wfile.write(response.content)

    def _response(self, asked: HttpRequest) -> HttpResponse:
        if asked.path_info == "/healthz":
            return healthz()
        if asked.path_info != "/metrics":
            return HttpResponse("There is no such page.\n", status=404, content_type=PLAIN)
        if not self.server.scrapes.acquire(blocking=False):
            return HttpResponse("Other scrapes are being answered.\n", status=503, content_type=PLAIN)
        try:
            return metrics_page.show(asked)
        finally:
            self.server.scrapes.release()

    def log_message(self, format: str, *words: Any) -> None:  # noqa: A002 - as the library calls it
        """Leave scrapes and probes out of the log."""


def healthz() -> HttpResponse:
    """Report whether the supervisor or loop gives signs of life, where it does so; whatever the services' state is."""
    if SignOfLife.is_promised and not _is_fresh(Path(settings.OPSCONSOLE_ALIVE_FILE)):
        return HttpResponse("There is no sign of life.\n", status=503, content_type=PLAIN)
    return HttpResponse("ok", content_type=PLAIN)


def _is_fresh(file: Path) -> bool:
    try:
        return time.time() - file.stat().st_mtime < SILENT_SECONDS
    except OSError:
        return False
