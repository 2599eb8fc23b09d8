"""The TypeScript package, built once, and programs of Node that run beside a test."""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.field.installed import installed
from tests.programs import program
from tests.repository import REPOSITORY
from tests.serving import free_port
from tests.waiting import wait_until

PACKAGE = REPOSITORY / "clients" / "typescript"
HERE = Path(__file__).parent
BUILD_SECONDS = 300


def make(target: str) -> None:
    """Run a target of the Makefile that installs or builds, if it has not been done. Without Node, skip the test."""
    for needed in ("nodejs", "npm"):
        installed(needed)
    # The workers of pytest-xdist want the same at once.
    with (PACKAGE / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(
            ["make", "--no-print-directory", target],
            cwd=REPOSITORY,
            env=os.environ | {"MAKEFLAGS": ""},
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass(frozen=True)
class Service:
    """A program of Node that listens on loopback."""

    port: int
    log: Path

    def get(self, path: str = "/", *, address: str = "127.0.0.1", **headers: str) -> Answer:
        """Send a request from an address, on a connection of its own, and read the whole response."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60, source_address=(address, 0))
        try:
            client.request("GET", path, headers=headers)
            response = client.getresponse()
            return Answer(response.status, response.headers, response.read().decode())
        finally:
            client.close()


@contextmanager
def service(folder: Path, command: list[str], **environ: str) -> Iterator[Service]:
    """Run a program that listens on the port in its environment; the log is in ``folder``."""
    port = free_port()
    own = Service(port, folder / f"service-{port}.log")
    with (
        own.log.open("wb") as log,
        program(
            command,
            cwd=folder,
            env=os.environ | {"PORT": str(own.port), "HOSTNAME": "127.0.0.1"} | environ,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            end_signal=signal.SIGTERM,
        ),
    ):
        wait_until(lambda: _answers(own), timeout=60, what=f"a program of Node: {own.log}")
        yield own


def _answers(own: Service) -> bool:
    try:
        return own.get("/ready").status > 0
    except OSError:
        return False
