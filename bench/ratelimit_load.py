"""gunicorn with one limiter, and a process that asks it as fast as it answers, for a bounded time."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import closing

CONNECTIONS = 4
WARM_UP_SECONDS = 1.0
ASKED_BY_ONE = 50
START_SECONDS = 60.0
REQUEST = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Bench-Address: {}\r\n\r\n"


def requests_a_second(environ: Mapping[str, str], seconds: float, *, refused: bool) -> float:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = ["-m", "gunicorn", "bench.ratelimit_views:application", "--bind", f"127.0.0.1:{port}"]
    command += ["--threads", str(CONNECTIONS), "--no-control-socket", "--log-level", "critical"]
    server = subprocess.Popen([sys.executable, *command], env=environ, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port)
        asked = [str(port), str(seconds), "refused" if refused else "allowed"]
        load = [sys.executable, "-m", "bench.ratelimit_load", *asked]
        return float(subprocess.run(load, check=True, capture_output=True, timeout=120).stdout)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError("gunicorn did not start")


class Load:
    """Counts the answers of the wanted status, once warm."""

    def __init__(self, port: int, seconds: float, *, refused: bool) -> None:
        self.port = port
        self.refused = refused
        self.counts = [0] * CONNECTIONS
        self.began = time.monotonic() + WARM_UP_SECONDS
        self.end = self.began + seconds
        self.seconds = seconds

    def run(self) -> float:
        threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(CONNECTIONS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(self.counts) / self.seconds

    def _ask(self, number: int) -> None:
        wanted = b" 429 " if self.refused else b" 200 "
        asked = 0
        with closing(socket.create_connection(("127.0.0.1", self.port), timeout=30)) as connection:
            while (now := time.monotonic()) < self.end:
                client = 0 if self.refused else asked // ASKED_BY_ONE
                asked += 1
                address = f"11.{os.getpid() & 255}.{client >> 8 & 255}.{client & 255}"
                # Each connection has clients of its own.
                address = address.replace("11.", f"{11 + number}.", 1)
                connection.sendall(REQUEST.format(address).encode())
                head = connection.recv(65_536)
                if now >= self.began:
                    self.counts[number] += wanted in head[:20]


if __name__ == "__main__":
    print(Load(int(sys.argv[1]), float(sys.argv[2]), refused=sys.argv[3] == "refused").run())
