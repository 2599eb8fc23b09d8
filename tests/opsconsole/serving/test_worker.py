"""gunicorn's processes with the worker of the console: they end and reload without losing a request."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from opsconsole.serving.connections import PATIENCE_SECONDS
from opsconsole.serving.worker import LAST_REQUESTS_SECONDS
from tests.opsconsole.serving.conftest import rest_of
from tests.programs import program
from tests.repository import REPOSITORY
from tests.responses import whole_response
from tests.serving import free_port
from tests.waiting import wait_until

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@contextmanager
def processes(folder: Path, *options: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Serve the small application, as the console is served; yield the port and gunicorn's process."""
    port = free_port()
    command = ["-m", "gunicorn", "--config", "python:opsconsole.serving", "--bind", f"127.0.0.1:{port}"]
    with (folder / "log").open("wb") as log:
        served = program(
            [sys.executable, *command, *options, "tests.opsconsole.serving.application:application"],
            cwd=REPOSITORY,
            stdout=log,
            stderr=log,
            end_signal=signal.SIGTERM,
        )
        with served as gunicorn:
            wait_until(lambda: answers(port), timeout=60, what=f"gunicorn: {folder / 'log'}")
            yield port, gunicorn


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
            client.sendall(GET)
            return whole_response(client).status == 200
    except OSError:
        return False


def test_processes_that_end_finish_what_they_began(tmp_path: Path) -> None:
    """Requests in work are answered, and so is what a client sends on its kept connection just then; then each is closed."""
    with processes(tmp_path, "--workers", "1") as (port, gunicorn):
        with (
            socket.create_connection(("127.0.0.1", port), timeout=20) as busy,
            socket.create_connection(("127.0.0.1", port), timeout=20) as kept,
            socket.create_connection(("127.0.0.1", port), timeout=20) as silent,
        ):
            assert says_that_it_closes(kept) is False
            busy.sendall(b"GET /held?%s HTTP/1.1\r\nHost: x\r\n\r\n" % bytes(tmp_path / "released"))
            gunicorn.send_signal(signal.SIGTERM)
            began = time.monotonic()
            # gunicorn tells its processes after it was told, so that the first answers may be as before.
            wait_until(lambda: says_that_it_closes(kept), timeout=20)
            assert rest_of(kept) == b""
            (tmp_path / "released").touch()
            response = whole_response(busy)
            assert (response.status, response.headers["Connection"]) == (200, "close")
            # It has begun nothing, and may not delay the end for long.
            assert rest_of(silent) == rest_of(busy) == b""
            assert time.monotonic() - began < PATIENCE_SECONDS
        assert gunicorn.wait(timeout=20) == 0
    assert "Traceback" not in (tmp_path / "log").read_text()


def ask(client: http.client.HTTPConnection, answered: float) -> bytes:
    """Send a slow request on the kept connection; on a new one where this test was late after the last answer."""
    try:
        client.request("GET", "/slow")
        return client.getresponse().read()
    except ConnectionError:
        if time.monotonic() - answered < LAST_REQUESTS_SECONDS:
            raise
    client.close()
    return ask(client, time.monotonic())


def says_that_it_closes(client: socket.socket) -> bool:
    """Ask on this kept connection; tell whether the answer says that the server closes it now."""
    client.sendall(GET)
    response = whole_response(client)
    assert response.status == 200
    return response.headers["Connection"] == "close"


def test_reload_loses_no_request_and_processes_know_how_many_they_are(tmp_path: Path) -> None:
    with processes(tmp_path, "--workers", "2") as (port, gunicorn):
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        gunicorn.send_signal(signal.SIGHUP)
        answered = time.monotonic()
        for _ in range(3):
            told = json.loads(ask(client, answered))
            answered = time.monotonic()
            assert (told["wsgi.multiprocess"], told["OPSCONSOLE_WEB_PROCESSES"]) == (True, "2")
        client.close()
        wait_until(lambda: (tmp_path / "log").read_text().count("Booting worker") >= 4, timeout=60)
        assert answers(port)
