"""The load test: gunicorn with one limiter, and a client process that sends requests for a bounded time."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from itertools import count

from bench import failures
from bench.ratelimit_worker import WindowTurned, with_another_client
from tests.programs import program

CONNECTIONS = 4
WARM_UP_SECONDS = 1.0
ASKED_BY_ONE = 50
START_SECONDS = 60.0
REQUEST = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Bench-Address: {}\r\n\r\n"


def requests_a_second(environ: Mapping[str, str], seconds: float, *, refused: bool) -> float:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = ["-m", "gunicorn", "--config", "python:opsconsole.serving", "bench.ratelimit_wsgi:application"]
    command += ["--bind", f"127.0.0.1:{port}", "--workers", "1", "--threads", str(CONNECTIONS)]
    command += ["--log-level", "critical"]
    served = program(
        [sys.executable, *command], end_signal=signal.SIGTERM, env=environ, stderr=subprocess.DEVNULL
    )
    with served:
        wait_for(port)
        asked = [str(port), str(seconds), "refused" if refused else "allowed"]
        load = [sys.executable, "-m", "bench.ratelimit_load", *asked]
        return float(subprocess.run(load, check=True, stdout=subprocess.PIPE, timeout=120).stdout)


def wait_for(port: int) -> None:
    """Wait until the server answers, because the port opens before Django is loaded."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=START_SECONDS) as connection:
                connection.sendall(REQUEST.format("10.0.0.1").encode())
                read_head(connection)
                return
        except ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


class Load:
    """Counts the responses with the wanted status, after the warm-up."""

    def __init__(self, port: int, seconds: float, *, refused: bool, client: int = 0) -> None:
        self.port = port
        self.client = client
        self.refused = refused
        self.counts = [0] * CONNECTIONS
        self.began = time.monotonic() + WARM_UP_SECONDS
        self.end = self.began + seconds
        self.seconds = seconds

    def run(self) -> float:
        failures.in_threads(partial(self._ask, number) for number in range(CONNECTIONS))
        if not all(self.counts):
            raise ValueError("a connection was not answered")
        return sum(self.counts) / self.seconds

    def _ask(self, number: int) -> None:
        wanted = b" 429 " if self.refused else b" 200 "
        asked = 0
        with closing(socket.create_connection(("127.0.0.1", self.port), timeout=30)) as connection:
            while (now := time.monotonic()) < self.end:
                connection.sendall(REQUEST.format(self._address(number, asked)).encode())
                answer = read_head(connection)
                asked += 1
                if now >= self.began:
                    if wanted not in answer[:20]:
                        raise WindowTurned(answer) if self.refused else ValueError(answer)
                    self.counts[number] += 1

    def _address(self, number: int, asked: int) -> str:
        if self.refused:
            return f"10.255.255.{255 - self.client}"
        # Each connection uses its own client addresses.
        client = asked // ASKED_BY_ONE
        return f"{11 + number}.{os.getpid() & 255}.{client >> 8 & 255}.{client & 255}"


def read_head(connection: socket.socket) -> bytes:
    """Read one complete response: its head, which is returned, and a body of the length it declares."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += _more(connection)
    head, _, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    while length and len(body) < int(length[1]):
        body += _more(connection)
    return head


def _more(connection: socket.socket) -> bytes:
    if not (more := connection.recv(65_536)):
        raise ConnectionError("the server closed the connection")
    return more


def run(port: int, seconds: float, *, refused: bool) -> float:
    """Return the requests per second. Each try has a refused client of its own."""
    clients = count()
    return with_another_client(lambda: Load(port, seconds, refused=refused, client=next(clients)).run())


if __name__ == "__main__":
    print(run(int(sys.argv[1]), float(sys.argv[2]), refused=sys.argv[3] == "refused"))
