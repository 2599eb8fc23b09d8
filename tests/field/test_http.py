"""Tests of HTTP on a kept connection: every response is complete, and the next one starts right after it."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import presets
from tests.serving import gunicorn

pytestmark = pytest.mark.django_db(transaction=True)

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
# Requests, and the status of their responses.
ERRORS = [
    ("GET", "/api/nothing", {}, 404),
    ("DELETE", "/api/queue/X", {}, 405),
    ("POST", "/api/docs", FORM, 403),
    ("GET", "/api/queue/%00", {}, 400),
    ("POST", "/api/jobs", {"Content-Type": "application/json"}, 401),
]


@pytest.fixture
def port(db: None, limiter: None, tmp_path: Path) -> Iterator[int]:
    presets.write()
    with gunicorn(tmp_path) as number:
        yield number


@pytest.mark.parametrize("method", ["as asked", "HEAD"])
def test_api_error_is_complete_on_kept_connection(port: int, method: str) -> None:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    client.connect()
    kept = client.sock
    for asked, path, headers, status in ERRORS:
        verb = asked if method == "as asked" else method
        client.request(verb, path, "" if asked == "POST" else None, headers)
        answer = client.getresponse()
        body = answer.read()
        if verb == asked:
            assert answer.status == status, path
            assert int(answer.headers["Content-Length"]) == len(body), path
            assert json.loads(body)["status"] == status
        else:
            assert body == b""
        assert client.sock is kept, f"the connection was closed after {path}"
    client.close()


def test_pipelined_responses_arrive_in_order(port: int) -> None:
    """Send two requests at once: the second response contains nothing of the first."""
    request = b"GET /api/nothing HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        plain.sendall(request + last)
        received = b""
        while piece := plain.recv(65_536):
            received += piece
    head, _, rest = received.partition(b"\r\n\r\n")
    length = int(
        next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")).split(b":")[
            1
        ]
    )
    assert json.loads(rest[:length])["status"] == 404
    assert rest[length:].startswith(b"HTTP/1.1 200")
